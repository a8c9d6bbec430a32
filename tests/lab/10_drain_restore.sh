# The main job. Direct routing, three real servers of very different weight: a server process dies, its weight goes to 0,
# no request begun after that fails, and when it is back it gets exactly the weight it is owed.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 3
virtual_server $WEB wrr 10.10.0.21:80 1 10.10.0.22:80 5 10.10.0.23:80 65535
owed=$(ipvsadm -Sn)
default_config
agent_start
wait_for "all three are judged up" 20 state_is 3 up $WEB
expect_eq "the table, untouched so far" "$(ipvsadm -Sn)" "$owed"

load_start
wait_for "20 requests" 20 requests_reach 20
for host in r1 r2 r3; do
  step "$host dies"
  rs=$(rip $host):80
  read -r ms us < <("$TOOLS" referee $WEB "$rs" 0 10 kill "${SERVER[$host]}")
  wait_for "60 further requests" 30 requests_reach $(($(requests) + 60))
  wait_for "the API says why" 10 rs_api_is check $WEB "$rs" drained by
  # A probe that was under way when the process died is told so by a reset, or by an answer that breaks off.
  expect_match "the reason" "$(rs_api $WEB "$rs" drained reason)" '^(connect_refused|reset|bad_response)$'
  expect_eq "the metric of the drain" "$(rs_metric lvs_real_server_drained $WEB "$rs" reason=check)" 1
  expect_eq "others' weights" "$(ipvsadm -Sn)" "$(sed "s/-r $rs -g -w .*/-r $rs -g -w 0/" <<<"$owed")"
  quiet_until=$(($(date +%s%N) / 1000))
  serve $host
  wait_for "$host has its weight back" 15 table_is "$owed"
  expect_eq "failed requests begun while its weight was 0 (it took $ms ms)" "$(failed_between "$us" "$quiet_until")" ""
done
load_stop

step "the books are closed"
wait_for "an empty ledger" 10 metric_is 0 lvs_agent_ledger_entries
wait_for "all three are judged up" 20 state_is 3 up $WEB
expect_eq "drains" "$(metric lvs_weight_changes_total virtual_server=$WEB direction=drain)" 3
expect_eq "restores" "$(metric lvs_weight_changes_total virtual_server=$WEB direction=restore)" 3
expect_eq "still drained" "$(rs_metric lvs_real_server_drained $WEB 10.10.0.23:80)" absent
agent_stop
