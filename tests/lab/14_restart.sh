# The agent goes and comes: a clean stop and kill -9 leave the table as it is, and the next one knows what it owes.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 3
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6 10.10.0.23:80 7
default_config
agent_start
wait_for "all three are judged up" 20 state_is 3 up $WEB
crash r1
wait_for "r1 is out" 10 weight_is $WEB 10.10.0.21:80 0

step "SIGTERM leaves the table as it is"
table=$(ipvsadm -Sn)
agent_stop
expect_eq "the table" "$(ipvsadm -Sn)" "$table"

step "the next agent still knows that the 0 is its own, and holds it while the server fails"
agent_start
wait_for "r1 is judged down" 20 rs_metric_is 0 lvs_real_server_up $WEB 10.10.0.21:80
expect_eq "drained by" "$(rs_api $WEB 10.10.0.21:80 drained by)" check
expect_eq "owed" "$(rs_metric lvs_real_server_owed_weight $WEB 10.10.0.21:80)" 5
expect_eq "the table" "$(ipvsadm -Sn)" "$table"

step "kill -9; the server recovers and the operator takes another out while no agent runs"
agent_kill9
expect_eq "the table" "$(ipvsadm -Sn)" "$table"
set_weight $WEB 10.10.0.22:80 0
serve r1
agent_start
wait_for "r1 has its weight back" 20 weight_is $WEB 10.10.0.21:80 5
wait_for "an empty ledger" 10 metric_is 0 lvs_agent_ledger_entries
further_probes 3 $WEB 10.10.0.22:80
expect_eq "the operator's 0" "$(weight $WEB 10.10.0.22:80)" 0
expect_eq "drained by" "$(rs_api $WEB 10.10.0.22:80 drained by)" external
expect_eq "the third, never touched" "$(weight $WEB 10.10.0.23:80)" 7
agent_stop
