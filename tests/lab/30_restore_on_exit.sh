# restore-on-exit: a clean stop gives back what checks took, on the real table; by default nothing moves (trap 18).
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
ulimit -c 0
actors 5
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6 10.10.0.23:80 7 10.10.0.24:80 8 10.10.0.25:80 9
default_config
sed -i -e '1i [ipvs]\npoll-interval = "500ms"' "$T/agent.toml"
entries_are() { [ "$(grep -c '"owed"' "$T/state/ledger.json")" = "$1" ]; }
log_has() { grep -Eq -- "$1" "$T/agent.log"; }

step "by default the table is left as it is, and the log says so"
agent_start
wait_for "all are judged up" 20 state_is 5 up $WEB
act r1 unavailable
wait_for "r1 is out" 10 weights_are 0 6 7 8 9
agent_stop
expect "the table" weights_are 0 6 7 8 9
expect "the log says which of the two was done" log_has 'the table is left as it is.*taken=1'

step "restore-on-exit: r1 fails still, r2 fails, r3 is out by hand, r4 at an operator's 0"
sed -i '1i restore-on-exit = true' "$T/agent.toml"
agent_start
act r2 unavailable
wait_for "r2 is out" 15 weights_are 0 0 7 8 9
agent_run 0 drain 10.10.0.23:80 --virtual-server $WEB
set_weight $WEB 10.10.0.24:80 0
wait_for "the operator's 0 is seen" 10 rs_api_is external $WEB 10.10.0.24:80 drained by
expect "the table" weights_are 0 0 0 0 9
journal_start
agent_stop
expect "what checks took is back" weights_are 5 6 0 0 9
expect_eq "the changes, after the table as it was" "$(tail -n +6 "$T/journal" | cut -d' ' -f2- | sort)" "$WEB 10.10.0.21:80 5
$WEB 10.10.0.22:80 6"
expect "the log has each" log_has 'weight set: restore.*10.10.0.22:80.*from=0.*to=6'
expect "and the sum" log_has 'what checks took is given back.*given=2.*kept=1'
expect "the ledger has the drain by hand: its wish and its entry" entries_are 2

step "an operator's change right before the stop is the operator's"
: >"$T/agent.log"
agent_start
wait_for "both are out again" 20 weights_are 0 0 0 0 9
set_weight $WEB 10.10.0.21:80 3
kill "$AGENT_PID"
wait "$AGENT_PID" || fail "the exit status after SIGTERM is $?"
AGENT_PID=
expect "3 stands" weights_are 3 6 0 0 9

step "killed in the middle of giving back: on record, and the next run takes it for what it is"
agent_start
wait_for "both are out again" 20 weights_are 0 0 0 0 9
agent_stop
expect "given back" weights_are 3 6 0 0 9
for point in before_write after_write; do
  agent_start
  wait_for "both are out" 20 weights_are 0 0 0 0 9
  agent_kill9
  status=0
  LVS_AGENT_FAILPOINT=$point agent_start
  kill "$AGENT_PID"
  wait "$AGENT_PID" 2>/dev/null || status=$?
  AGENT_PID=
  expect_eq "the exit status (SIGABRT) at $point" "$status" 134
  case $point in
    before_write) expect "nothing is written" weights_are 0 0 0 0 9 ;;
    after_write) expect "all is written" weights_are 3 6 0 0 9 ;;
  esac
  expect "all is on record" entries_are 4
  act r1 good
  act r2 good
  agent_start
  wait_for "$point: all that is owed is there" 20 weights_are 3 6 0 0 9
  wait_for "and nothing else is on record" 20 entries_are 2
  agent_stop
  act r1 unavailable
  act r2 unavailable
done
