# A misconfigured pair: keepalived's checkers and the agent both write one weight. Seen, yielded to, said once, exported
# (traps 2, 19); and the cure of docs/operations.md ends it.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 2
{ documented conf static | sed '/^virtual_server/,$d'; documented conf checkers; } | keepalived_conf
keepalived_start
wait_for "keepalived has made the table" 10 weights_are 3 4
{ printf '[ipvs]\npoll-interval = "500ms"\n'; documented toml checkers | sed '/^mode = /d'; } | agent_config
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
journal_start
journal() { tail -n +3 "$T/journal" | cut -d' ' -f3- | { grep "^10.10.0.2$1:80 " || true; } | cut -d' ' -f2 | xargs; } # after the table as it was
log_count() { grep -Ec -- "$1" "$T/agent.log" || true; }
keepalived_says() { [ "$(grep -c "$1" "$T/keepalived.log")" -ge "$2" ]; }

step "the page of r1 fails and its port is open: out by the agent, well by keepalived"
act r1 unavailable
wait_for "the agent drains it" 15 weights_are 0 4

step "its port closes and opens: keepalived writes its weight, and after fresh failures ours is there again"
port_closes_and_opens() { # TIMES so far
  crash r1
  wait_for "keepalived sees it fail" 15 keepalived_says 'TCP_CHECK.*10\.10\.0\.21.*fail\|10\.10\.0\.21.*failed' "$1"
  serve r1 "@$T/as/$(rip r1)"
}
port_closes_and_opens 1
raised() { [ "$(journal 1)" = "$1" ]; }
wait_for "raised, and drained once more" 20 raised "0 3 0"
expect_eq "said" "$(log_count 'WARN somebody else changed the weight.*10.10.0.21:80')" 1

step "and again: the agent yields"
port_closes_and_opens 2
wait_for "keepalived raises it" 20 raised "0 3 0 3"
wait_for "held" 15 rs_api_is '{"reason":"tug_of_war","would":0}' $WEB 10.10.0.21:80 held
further_probes 6 $WEB 10.10.0.21:80
expect "the table" weights_are 3 4
expect_eq "nothing is written any more" "$(journal 1)" "0 3 0 3"
expect_eq "said once for each hold: until the fresh failures, and now" \
  "$(log_count 'WARN a weight change is held.*10.10.0.21:80 reason=tug_of_war from=3')" 2
expect_eq "exported" "$(rs_metric lvs_real_server_change_held $WEB 10.10.0.21:80 reason=tug_of_war)" 1
expect_eq "failing, and in" "$(metric lvs_virtual_server_protected_real_servers virtual_server=$WEB)" 1
expect_match "on the terminal" "$(timeout 20 "$AGENT" status 2>&1 || true)" '10\.10\.0\.21:80 .*held by tug_of_war, would be 0'
expect_eq "nothing is on record" "$(metric lvs_agent_ledger_entries)" 0
expect_eq "the other server" "$(journal 2)" ""

step "the cure: observe, by a reload"
sed -i 's/^checks = .*/&\nmode = "observe"/' "$T/agent.toml"
kill -HUP "$AGENT_PID"
wait_for "it observes" 15 rs_api_is '{"reason":"observe","would":0}' $WEB 10.10.0.21:80 held
port_closes_and_opens 3
wait_for "keepalived drains and raises it alone" 20 raised "0 3 0 3 0 3"
further_probes 4 $WEB 10.10.0.21:80
expect_eq "the changes" "$(journal 1)" "0 3 0 3 0 3"
act r1 good
wait_for "all is well" 15 rs_api_is null $WEB 10.10.0.21:80 held
agent_stop
