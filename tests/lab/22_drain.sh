# Out by hand and back: at once, whatever the checks say, over kill -9 and a writer that rebuilds the weights.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6
virtual_server fwmark:7/ipv4 wrr 10.10.0.21:80 3 10.10.0.22:80 4
default_config '' '"*:*/tcp", "fwmark:*/ipv4"' 'port = 80'
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
wait_for "in the other service too" 20 state_is 2 up fwmark:7/ipv4
both() { echo "$(weight $WEB "$1") $(weight fwmark:7/ipv4 "$1")"; }
both_are() { [ "$(both "$1")" = "$2" ]; }

step "drain: every service of the server, and the command returns when it is empty"
agent_run 0 drain 10.10.0.21 --reason "a new disk" --wait=20s
expect_match "what is done" "$OUT" '10\.10\.0\.100:80/tcp  10\.10\.0\.21:80  draining: weight 5 -> 0'
expect_match "what is done" "$OUT" 'fwmark:7/ipv4  10\.10\.0\.21:80  draining: weight 3 -> 0'
expect_match "its end" "$OUT" 'no active and no persistent connections are left'
expect_eq "the weights" "$(both 10.10.0.21:80)" "0 0"
wait_for "who drained it" 10 rs_api_is operator $WEB 10.10.0.21:80 drained by
expect_eq "why" "$(rs_api $WEB 10.10.0.21:80 drained reason)" 'a new disk'
wait_for "the metric" 10 rs_metric_is 1 lvs_real_server_drained $WEB 10.10.0.21:80 reason=operator

step "passing checks do not undo it"
further_probes 3 $WEB 10.10.0.21:80
expect_eq "its verdict" "$(rs_api $WEB 10.10.0.21:80 verdict)" up
expect_eq "the weights" "$(both 10.10.0.21:80)" "0 0"

step "nobody else is in: refused, and nothing changes"
table=$(ipvsadm -Sn)
agent_run 1 drain 10.10.0.22
expect_match "the refusal" "$OUT" 'would be left with no real server'
agent_run 1 drain 10.10.0.21
expect_match "a second drain" "$OUT" 'drained by hand already'
agent_run 1 drain 10.10.0.29
expect_eq "the table" "$(ipvsadm -Sn)" "$table"

step "kill -9: the next agent keeps it out"
agent_kill9
agent_start
wait_for "both are probed" 20 rs_metric_is 1 lvs_real_server_up $WEB 10.10.0.21:80
expect_eq "the weights" "$(both 10.10.0.21:80)" "0 0"
expect_eq "who drained it" "$(rs_api $WEB 10.10.0.21:80 drained by)" operator

step "a reload of somebody's table: drained again at once, with the new weight owed"
set_weight $WEB 10.10.0.21:80 8
wait_for "it is out again" 10 weight_is $WEB 10.10.0.21:80 0
wait_for "8 is owed" 10 rs_metric_is 8 lvs_real_server_owed_weight $WEB 10.10.0.21:80

step "undrain of a failing server leaves it to its checks"
crash r1
wait_for "it is judged down" 10 rs_metric_is 0 lvs_real_server_up $WEB 10.10.0.21:80
agent_run 0 undrain 10.10.0.21:80
expect_match "what is done" "$OUT" 'lifted, but its checks keep it out .*: weight 8'
further_probes 2 $WEB 10.10.0.21:80
expect_eq "the weights" "$(both 10.10.0.21:80)" "0 0"
serve r1
wait_for "it has its weights back" 15 both_are 10.10.0.21:80 "8 3"

step "somebody who insists ends the drain"
agent_run 0 drain 10.10.0.22 --virtual-server $WEB
wait_for "it is out" 10 weight_is $WEB 10.10.0.22:80 0
expect_eq "the other service" "$(weight fwmark:7/ipv4 10.10.0.22:80)" 4
journal_start
set_weight $WEB 10.10.0.22:80 7
drained_again() { tail -n +4 "$T/journal" | grep -q ' 10.10.0.22:80 0$'; }
wait_for "it is out once more" 10 drained_again
wait_for "the agent has read that back" 10 rs_metric_is 0 ipvs_real_server_weight $WEB 10.10.0.22:80
set_weight $WEB 10.10.0.22:80 7
further_probes 4 $WEB 10.10.0.22:80
expect_eq "its weight" "$(weight $WEB 10.10.0.22:80)" 7
agent_run 1 undrain 10.10.0.22 --virtual-server $WEB
expect_match "nothing is left of it" "$OUT" 'is not drained by hand'

step "ignored checks keep a failing server in"
agent_run 0 undrain 10.10.0.21 --virtual-server $WEB --ignore-checks
crash r1
wait_for "it is out where they count" 10 weight_is fwmark:7/ipv4 10.10.0.21:80 0
wait_for "held where they do not" 10 rs_api_is '{"reason":"ignore_checks","would":0}' $WEB 10.10.0.21:80 held
expect_eq "its weight" "$(weight $WEB 10.10.0.21:80)" 8
agent_run 0 undrain 10.10.0.21 --virtual-server $WEB
wait_for "out by its checks" 10 weight_is $WEB 10.10.0.21:80 0
serve r1
wait_for "it has its weights back" 15 both_are 10.10.0.21:80 "8 3"

step "a persistence template keeps a drained server busy (trap 30): --wait sees it and ends at its deadline"
ipvsadm -E -t $VIP:80 -s wrr -p 600
for n in 1 2 3 4; do in_ns client "$TOOLS" get "http://$VIP:80/" >/dev/null; done
busy= # the client's templates lead it to one of the two
for server in 10.10.0.21:80 10.10.0.22:80; do
  wait_for "the table is read" 10 rs_api_is up $WEB $server verdict
  [ "$(ipvsadm -Ln --persistent-conn | grep -F " $server " | awk '$4 > 0' | wc -l)" = 0 ] || busy=$server
done
expect "a server has a template" test -n "$busy"
agent_run 1 drain $busy --virtual-server $WEB --wait=4s
expect_match "the deadline" "$OUT" 'not empty within 4\.0s: weight 0, [0-9]+ active, 1 persistent'
expect_eq "the drain stays" "$(weight $WEB $busy)" 0
agent_run 0 undrain $busy --virtual-server $WEB
wait_for "the ledger has nothing left" 10 metric_is 0 lvs_agent_ledger_entries
agent_stop
