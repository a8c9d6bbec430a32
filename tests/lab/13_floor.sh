# Checks never empty a service: the last server stays in though it fails, and goes out as soon as another is back. When
# nobody passes any more, the director itself is the suspect too, and that is the reason that shows.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 3
virtual_server $WEB wrr 10.10.0.21:80 2 10.10.0.22:80 3 10.10.0.23:80 4
default_config
agent_start
wait_for "all three are judged up" 20 state_is 3 up $WEB
journal_start

step "all die, one after the other"
crash r1
wait_for "r1 is out" 10 weight_is $WEB 10.10.0.21:80 0
crash r2
wait_for "r2 is out" 10 weight_is $WEB 10.10.0.22:80 0
crash r3
wait_for "the floor is reached" 15 metric_is 1 lvs_virtual_server_floor_reached virtual_server=$WEB
further_probes 3 $WEB 10.10.0.23:80
expect_eq "the last one's weight" "$(weight $WEB 10.10.0.23:80)" 4
expect_eq "protected" "$(metric lvs_virtual_server_protected_real_servers virtual_server=$WEB)" 1
expect_eq "up" "$(metric lvs_virtual_server_up virtual_server=$WEB)" 0
expect_eq "down" "$(metric lvs_virtual_server_real_servers virtual_server=$WEB state=down)" 3
expect_eq "the API says why it is held" "$(rs_api $WEB 10.10.0.23:80 held)" '{"reason":"suspect_self","would":0}'
expect_eq "and so does the metric" "$(rs_metric lvs_real_server_change_held $WEB 10.10.0.23:80 reason=suspect_self)" 1
expect_eq "the hold is counted once" "$(metric lvs_weight_changes_held_total virtual_server=$WEB reason=suspect_self)" 1

step "r1 comes back: it takes over, and the one that was held in goes out"
serve r1
wait_for "r1 has its weight" 15 weight_is $WEB 10.10.0.21:80 2
wait_for "r3 is out" 10 weight_is $WEB 10.10.0.23:80 0
wait_for "the floor is no longer reached" 10 metric_is 0 lvs_virtual_server_floor_reached virtual_server=$WEB
expect_eq "protected" "$(metric lvs_virtual_server_protected_real_servers virtual_server=$WEB)" 0
expect_eq "up" "$(metric lvs_virtual_server_up virtual_server=$WEB)" 1

step "all come back"
serve r2
serve r3
wait_for "r2 has its weight" 15 weight_is $WEB 10.10.0.22:80 3
wait_for "r3 has its weight" 15 weight_is $WEB 10.10.0.23:80 4

step "the kernel never had fewer than one server with a weight"
fewest=$(awk '
  { weight[$3] = $4 + 0; if (NR < 3) next
    in_rotation = 0; for (rs in weight) if (weight[rs] > 0) in_rotation++
    if (fewest == "" || in_rotation < fewest) fewest = in_rotation }
  END { print fewest }' "$T/journal")
expect_eq "servers in rotation at the worst moment" "$fewest" 1
agent_stop
