# Under dh weight 0 does not move clients, it refuses them: by default the failing server stays in and is shown as held, and
# `on-failure` decides otherwise. dh hashes the virtual address, so one server has all the clients.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 2
virtual_server $WEB dh 10.10.0.21:80 5 10.10.0.22:80 6
owed=$(ipvsadm -Sn)
default_config
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
expect_match "the log, at the start" "$(grep WARN "$T/agent.log")" 'failing real servers stay in rotation here: .*scheduler="dh"'
expect_eq "the metric" "$(metric lvs_virtual_server_refuses_at_zero virtual_server=$WEB)" 1
agent_run 0 status --agent "$URL"
expect_match "status" "$OUT" 'failing real servers stay in: dh would refuse the clients'

asked() { { ip netns exec client "$TOOLS" get "http://$VIP:80/" 2>&1 || true; } | tr -d '\n'; }
chosen=$(asked)
expect_match "who answers" "$chosen" '^r[12]$'
rs=$(rip "$chosen"):80

step "it fails: it stays in, and what would happen is shown"
act "$chosen" unavailable
wait_for "it is held" 15 rs_api_is '{"reason":"scheduler_refuses","would":0}' $WEB "$rs" held
further_probes 3 $WEB "$rs"
expect_eq "the table" "$(ipvsadm -Sn)" "$owed"
expect_eq "the metric of the hold" "$(rs_metric lvs_real_server_change_held $WEB "$rs" reason=scheduler_refuses)" 1

step "on-failure = weight-0 by a reload: it is taken out, and the kernel gives its clients to nobody"
expect_match "while it is in it still answers, and says no" "$(asked)" "503 .*$chosen"
default_config 'on-failure = "weight-0"'
kill -HUP "$AGENT_PID"
wait_for "it is out" 15 weight_is $WEB "$rs" 0
expect_match "what its client is told, though the other one is well" "$(asked)" 'Connection refused'

step "the default again: what was taken goes back"
default_config
kill -HUP "$AGENT_PID"
wait_for "the table as it was" 15 table_is "$owed"
act "$chosen" good
expect_eq "who answers" "$(asked)" "$chosen"
agent_stop
