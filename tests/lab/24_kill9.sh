# kill -9 at random moments, under servers that flap and an operator who edits at random: no weight is lost, and no
# operator's 0 raised. tools/chaos/oracle.rs says what is owed. 25 kills, 200 with LVS_TEST_LONG=1.
# LAB_SEED=N repeats what servers and operator did; the moments remain the machine's.
# long limit: 700 s
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
ulimit -c 0
kills=25
[ -z "${LAB_LONG:-}" ] || kills=200
seed=${LAB_SEED:-$(($(date +%s%N) / 1000 % 1000000000))}
actors 4
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6 10.10.0.23:80 8 10.10.0.24:80 1
quick_config
step "$kills kills, LAB_SEED=$seed"
"$TOOLS" chaos $WEB $kills "$seed" "$T" "$AGENT" run --config "$T/agent.toml" --web.listen-address 127.0.0.1:10190 \
  --state-dir "$T/state" >"$T/owed" 2>"$T/tools.log" || fail "LAB_SEED=$seed: a weight is lost"
cat "$T/tools.log" "$T/owed"

step "all servers are well, the operator is silent, and one agent has the time it needs"
for host in r1 r2 r3 r4; do act $host good; done
: >"$T/agent.log"
agent_start
mapfile -t owed < <(cut -d' ' -f2 "$T/owed")
wait_for "what is owed: ${owed[*]}" 10 weights_are "${owed[@]}"
wait_for "an empty ledger" 10 metric_is 0 lvs_agent_ledger_entries
for host in r1 r2 r3 r4; do
  wait_for "$host is judged up" 10 rs_metric_is 1 lvs_real_server_up $WEB "$(rip $host):80"
done
further_probes 5 $WEB 10.10.0.21:80
expect "LAB_SEED=$seed: what is owed: ${owed[*]}" weights_are "${owed[@]}"
agent_stop
expect_eq "the ledger on disk" "$("$TOOLS" json "$T/state/ledger.json" entries)" "[]"
expect_eq "the state directory" "$(ls -A "$T/state")" "ledger.json
lock"
