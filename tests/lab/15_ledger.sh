# A ledger that cannot be read is not an absent one: no write is made over it, it is left byte for byte, the error names
# it, and everything else goes on.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6
default_config
ledger=$T/state/ledger.json

step "a real ledger, of a drained server"
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
crash r1
wait_for "r1 is out" 10 weight_is $WEB 10.10.0.21:80 0
agent_kill9
cp "$ledger" "$T/good"
expect_match "the ledger" "$(<"$ledger")" '10\.10\.0\.21:80'

printf 'not a ledger\n' >"$T/garbage"
head -c $(($(stat -c %s "$T/good") / 2)) "$T/good" >"$T/truncated"
: >"$T/empty"
for broken in garbage truncated empty; do
  step "the ledger is $broken: r1 is back, but its 0 may be anybody's; r2 dies, but must not be taken"
  cp "$T/$broken" "$ledger"
  serve r1
  crash r2
  : >"$T/agent.log"
  agent_start
  wait_for "r2 is held" 20 rs_api_is ledger_unsaved $WEB 10.10.0.22:80 held reason
  further_probes 2 $WEB 10.10.0.21:80
  expect_eq "weights" "$(weight $WEB 10.10.0.21:80) $(weight $WEB 10.10.0.22:80)" "0 6"
  expect_eq "ipvs_up" "$(metric ipvs_up)" 1
  expect_eq "r1 is judged" "$(rs_metric lvs_real_server_up $WEB 10.10.0.21:80)" 1
  expect_match "the log has an error that names the file" "$(<"$T/agent.log")" "ERROR.*$ledger"
  expect_match "status says so" "$("$AGENT" status 2>&1 || true)" ledger_unsaved
  agent_stop
  expect "the file is what it was" cmp "$T/$broken" "$ledger"
  crash r1
  serve r2
done

step "with the good one back, nothing was lost"
cp "$T/good" "$ledger"
serve r1
agent_start
wait_for "r1 has its weight back" 20 weight_is $WEB 10.10.0.21:80 5
expect_eq "r2" "$(weight $WEB 10.10.0.22:80)" 6
agent_stop
