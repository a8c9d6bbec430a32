# Observe: everything but the writes.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6
owed=$(ipvsadm -Sn)
default_config
agent_start --mode observe
wait_for "both are judged up" 20 state_is 2 up $WEB
journal_start
crash r1
wait_for "it is judged down" 15 rs_metric_is 0 lvs_real_server_up $WEB 10.10.0.21:80
wait_for "it says what it would do" 10 rs_api_is '{"reason":"observe","would":0}' $WEB 10.10.0.21:80 held
further_probes 3 $WEB 10.10.0.21:80
expect_eq "the metric" "$(rs_metric lvs_real_server_change_held $WEB 10.10.0.21:80 reason=observe)" 1
expect_eq "desired, after the guard" "$(rs_metric lvs_real_server_desired_weight $WEB 10.10.0.21:80)" 5
expect_eq "the mode" "$(metric lvs_agent_mode mode=observe) $(metric lvs_agent_mode mode=enforce)" "1 0"
expect_eq "the ledger" "$(metric lvs_agent_ledger_entries)" 0
expect_match "the log, at INFO" "$(grep INFO "$T/agent.log")" '10\.10\.0\.21:80'
serve r1
wait_for "it is judged up" 15 rs_metric_is 1 lvs_real_server_up $WEB 10.10.0.21:80
wait_for "nothing is held" 10 rs_api_is null $WEB 10.10.0.21:80 held
expect_eq "the table" "$(ipvsadm -Sn)" "$owed"
expect_eq "changes of the table since the beginning" "$(tail -n +3 "$T/journal")" ""
case $(metric lvs_agent_netlink_requests_total command=set_dest) in
  0 | absent) ;;
  *) fail "it sent SET_DEST" ;;
esac
agent_stop
