# One agent writes to one table: the second that would, exits 69 and names the first; one that observes may run beside it.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 2
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6
default_config
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
first=$AGENT_PID
second=(--config "$T/agent.toml" --web.listen-address 127.0.0.1:10191 --control-socket "$T/second.sock")

step "with a state directory of its own: the table is taken"
agent_run 69 run "${second[@]}" --state-dir "$T/second"
expect_match "the error" "$OUT" "another lvs-agent \(pid $first\) holds /run/lvs-agent/table-[0-9]+\.lock"

step "with the first one's state directory, even for a table of its own"
printf -- '-A -t %s:80 -s rr\n-a -t %s:80 -r 10.10.0.21:80 -g -w 1\n' $VIP $VIP >"$T/table"
agent_run 69 run "${second[@]}" --state-dir "$T/state" --ipvs.table "$T/table"
expect_match "the error" "$OUT" "another lvs-agent \(pid $first\) holds $T/state/lock"

step "observing, it runs beside the first, and sees its drain as somebody's"
"$AGENT" run "${second[@]}" --state-dir "$T/second" --mode observe >"$T/second.log" 2>&1 &
observer=$!
act r1 unavailable
wait_for "the first one drains r1" 15 weights_are 0 6
its_api() { "$TOOLS" json http://127.0.0.1:10191/api/v1/status "$@" 2>>"$T/tools.log" || true; }
its_api_says() { [ "$(its_api virtual_servers $WEB real_servers "${@:2}")" = "$1" ]; }
wait_for "the observer judges r1 down too" 20 its_api_says down 10.10.0.21:80 verdict
expect_eq "its mode" "$(its_api mode)" observe
expect_eq "its ledger" "$("$TOOLS" metric http://127.0.0.1:10191/metrics lvs_agent_ledger_entries)" 0

step "a reload does not make it write while the first one lives"
sed "1i mode = \"enforce\"" "$T/agent.toml" >"$T/tmp/enforce"
cp "$T/tmp/enforce" "$T/agent.toml"
kill -HUP $observer
wait_for "it has reloaded" 10 grep -q 'the configuration is reloaded' "$T/second.log"
expect_eq "its mode, which the flag says" "$(its_api mode)" observe
act r1 good
wait_for "the first one gives r1 its weight back" 15 weights_are 5 6
agent_stop
kill $observer
wait $observer || fail "the observer ended with $?"

step "who observes by its file, and is told to enforce, needs the lock as well"
sed -i 's/enforce/observe/' "$T/agent.toml"
agent_start
sed 's/observe/enforce/' "$T/agent.toml" >"$T/second.toml"
second[1]=$T/second.toml
"$AGENT" run "${second[@]}" --state-dir "$T/second" >"$T/second.log" 2>&1 &
enforcing=$!
wait_for "the enforcing one runs" 20 "$TOOLS" get http://127.0.0.1:10191/-/healthy
cp "$T/second.toml" "$T/agent.toml"
: >"$T/agent.log"
kill -HUP "$AGENT_PID"
wait_for "the reload is refused" 10 grep -q "ERROR.*another lvs-agent (pid $enforcing) holds" "$T/agent.log"
expect_eq "its mode is what it was" "$("$TOOLS" json $URL/api/v1/status mode)" observe

step "the lock goes with its holder, however that ends"
kill -9 $enforcing
wait $enforcing 2>/dev/null || true
kill -HUP "$AGENT_PID"
wait_for "now it may" 10 grep -q 'the configuration is reloaded' "$T/agent.log"
act r2 unavailable
wait_for "it drains r2" 15 weights_are 5 0
act r2 good
wait_for "r2 has its weight back" 15 weights_are 5 6
agent_stop
