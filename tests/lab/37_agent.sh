# A server says how much of its weight it wants, in a line: half, all, none; it is down; an operator and a kill -9 in between.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
round_robin=$VIP:8080/tcp
virtual_server $WEB wrr 10.10.0.21:80 10 10.10.0.22:80 10
virtual_server $round_robin rr 10.10.0.21:8080 10 10.10.0.22:8080 10
owed=$(ipvsadm -Sn)

say() { printf '%s\n' "$2" >"$T/$1.line.new"; mv "$T/$1.line.new" "$T/$1.line"; } # HOST LINE
told() { (exec 3<>"/dev/tcp/$(rip "$1")/9777") 2>/dev/null; }
for r in r1 r2; do
  say $r "up 100%"
  ip netns exec $r "$TOOLS" agent '[::]:9777' "$T/$r.line" >>"$T/serve.log" 2>&1 &
  disown
  wait_for "the agent of $r listens" 10 told $r
done
attempts() { rs_metric lvs_check_attempts_total $WEB 10.10.0.21:80 check=load; }
attempts_reach() { [ "$(attempts)" -ge "$1" ]; }
more_lines() { # N: so many more are asked of r1
  local now; now=$(attempts)
  wait_for "$1 more lines of r1" 15 attempts_reach $((now + $1))
}
entries_are() { metric_is "$1" lvs_agent_ledger_entries; }
share_is() { rs_metric_is "$1" lvs_check_reported_share_ratio $WEB 10.10.0.21:80; }

quick_config
sed -i -e 's/^type = "http"/&\nport = 80/' -e 's/^checks = .*/checks = ["web", "load"]/' "$T/agent.toml"
cat >>"$T/agent.toml" <<'END'
[check.load]
type = "agent"
port = 9777
END
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
expect_eq "the table of servers that want all" "$(ipvsadm -Sn)" "$owed"
journal_start

step "half of its weight, and no more of it than half"
say r1 "50%"
wait_for "r1 has half" 10 weight_is $WEB 10.10.0.21:80 5
wait_for "the metric" 10 share_is 0.5
expect_eq "rr knows no halves" "$(weight $round_robin 10.10.0.21:8080)" 10
expect_eq "it is up" "$(rs_metric lvs_real_server_up $WEB 10.10.0.21:80)" 1
expect_eq "it is not drained" "$(rs_api $WEB 10.10.0.21:80 drained)" null
expect_eq "the share, in the API" "$(rs_api $WEB 10.10.0.21:80 share_percent)" 50
expect_eq "what it is owed" "$(rs_metric lvs_real_server_owed_weight $WEB 10.10.0.21:80)" 10
agent_run 0 status --agent "$URL"
expect_match "on status" "$OUT" 'wants 50% of its weight'
expect "the ledger knows what is owed" grep -q '"owed": 10' "$T/state/ledger.json"

step "kill -9: the next agent finds what is owed, and gives it when the server wants it"
agent_kill9
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
expect_eq "half of it still" "$(weight $WEB 10.10.0.21:80)" 5
say r1 "ready 100%"
wait_for "the table as it was" 10 table_is "$owed"
wait_for "the ledger is empty" 10 entries_are 0

step "drain: no new connections, its own go on; the floor keeps the last one"
say r1 "drain"
wait_for "r1 is out" 10 weight_is $WEB 10.10.0.21:80 0
wait_for "under rr as well" 10 weight_is $round_robin 10.10.0.21:8080 0
expect_eq "and up" "$(rs_metric lvs_real_server_up $WEB 10.10.0.21:80)" 1
say r2 "maint"
wait_for "r2 is held by the floor" 10 rs_api_is floor $WEB 10.10.0.22:80 held reason
expect_eq "and in" "$(weight $WEB 10.10.0.22:80)" 10
say r2 "up"
say r1 "up"
wait_for "the table as it was" 10 table_is "$owed"

step "down fails in the server's own words; so does what is none of the agent's words"
say r1 "down # backup"
wait_for "r1 is out" 10 weight_is $WEB 10.10.0.21:80 0
wait_for "its verdict" 10 rs_metric_is 0 lvs_real_server_up $WEB 10.10.0.21:80
expect_eq "its reason" "$(rs_api $WEB 10.10.0.21:80 drained reason)" not_serving
agent_run 0 probe $WEB 10.10.0.22:80 --check load
expect_match "a probe by hand says so" "$OUT" 'says `up`'
agent_run 1 probe $WEB 10.10.0.21:80 --check load
expect_match "and in its words" "$OUT" 'says `down # backup`'
say r1 "hello"
more_lines 3
expect_eq "still out" "$(weight $WEB 10.10.0.21:80)" 0
say r1 "20%"
wait_for "it comes back with what it wants" 10 weight_is $WEB 10.10.0.21:80 2

step "an operator's edit is owed from then on, its share is written once; the second edit stands"
set_weight $WEB 10.10.0.21:80 40
wait_for "a fifth of 40" 10 weight_is $WEB 10.10.0.21:80 8
expect_eq "what it is owed" "$(rs_metric lvs_real_server_owed_weight $WEB 10.10.0.21:80)" 40
set_weight $WEB 10.10.0.21:80 40
wait_for "it is left alone" 10 rs_api_is tug_of_war $WEB 10.10.0.21:80 held reason
more_lines 5
expect_eq "still" "$(weight $WEB 10.10.0.21:80)" 40
say r1 "100%"
wait_for "it wants all, which is what it has" 10 rs_api_is null $WEB 10.10.0.21:80 held
say r1 "50%"
wait_for "half of 40" 10 weight_is $WEB 10.10.0.21:80 20

step "a stop leaves it as it is; with restore-on-exit it is given back"
agent_stop
expect_eq "left" "$(weight $WEB 10.10.0.21:80)" 20
sed -i '1i restore-on-exit = true' "$T/agent.toml"
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
expect_eq "still" "$(weight $WEB 10.10.0.21:80)" 20
agent_stop
expect_eq "given back" "$(weight $WEB 10.10.0.21:80)" 40
