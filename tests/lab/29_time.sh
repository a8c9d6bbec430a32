# Restarts, stopped processes and clocks that are set: what is left to others stays so, and time without the agent counts for
# nothing (traps 2, 20, 49, 50).
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 3
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6 10.10.0.23:80 7
default_config
sed -i -e 's/^interval = .*/interval = "3s"\nfast-interval = "1s"/' -e 's/^timeout = .*/timeout = "3s"/' "$T/agent.toml"
agent_start
wait_for "all three are judged up" 20 state_is 3 up $WEB

step "stopped in the middle of a probe, for longer than it may take: that is no failure"
act r1 silent
under_way() { metric_above 0 lvs_agent_probes_in_flight; }
wait_for "r1 is being asked" 20 under_way
kill -STOP "$AGENT_PID"
act r1 good
let_pass 5
kill -CONT "$AGENT_PID"
wait_for "the agent says so" 20 grep -q 'did not run for a while' "$T/agent.log"
further_probes 2 $WEB 10.10.0.21:80
expect "no weight moved" weights_are 5 6 7
expect_eq "changes of the verdict" "$(grep -c 'the verdict changed.*verdict=down' "$T/agent.log" || true)" 0

step "raised once over its drain, then the agent is killed"
act r3 unavailable
wait_for "r3 is drained" 15 weights_are 5 6 0
journal_start
set_weight $WEB 10.10.0.23:80 4
drained_again() { tail -n +4 "$T/journal" | grep -q ' 10.10.0.23:80 0$'; } # after the table as it was
wait_for "it is drained once more" 15 drained_again
raises() { "$TOOLS" json "$T/state/ledger.json" raises 10.10.0.23:80 yielded; }
raise_is() { [ "$(raises 2>>"$T/tools.log")" = "$1" ]; }
wait_for "the raise is on record" 10 raise_is false
agent_kill9

set_clock() { date -qs "@$(($(date +%s) + $1))" >/dev/null 2>&1 || date -s "@$(($(date +%s) + $1))" >/dev/null; }
YEAR=$((366 * 86400))
is_left_alone() {
  further_probes 3 $WEB 10.10.0.23:80
  expect "r3 is left alone" weights_are 5 6 4
  expect_eq "the API says why" "$(rs_api $WEB 10.10.0.23:80 held)" '{"reason":"tug_of_war","would":0}'
}

step "a year later by the wall clock, raised again: the next agent yields"
set_clock $YEAR
agent_start
wait_for "r3 is judged" 15 rs_metric_is 0 lvs_real_server_up $WEB 10.10.0.23:80
expect "and still out" weights_are 5 6 0
set_weight $WEB 10.10.0.23:80 4
is_left_alone
wait_for "that is on record" 10 raise_is true

step "so does the one after it, a year back, until the server is up"
agent_kill9
set_clock -$YEAR
agent_start
is_left_alone
act r3 good
wait_for "r3 is judged up" 15 rs_metric_is 1 lvs_real_server_up $WEB 10.10.0.23:80
act r3 unavailable
wait_for "r3 is drained again" 15 weights_are 5 6 0

step "no step of the wall clock lapses the record of what is taken"
set_clock $YEAR
agent_kill9
agent_start
act r3 good
wait_for "r3 has its weight back" 15 weights_are 5 6 4
expect_eq "lapsed entries" "$(grep -c 'a ledger entry lapsed' "$T/agent.log" || true)" 0
set_clock -$YEAR
agent_stop
