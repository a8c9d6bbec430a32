# The table belongs to the operator: a 0 by hand is never raised, a weight by hand becomes the owed one.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 3
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 5 10.10.0.23:80 5
default_config
agent_start
wait_for "all three are judged up" 20 state_is 3 up $WEB

step "a 0 by hand on a healthy server stays"
set_weight $WEB 10.10.0.22:80 0
wait_for "it counts as drained" 10 state_is 1 drained $WEB
further_probes 5 $WEB 10.10.0.22:80
expect_eq "its weight" "$(weight $WEB 10.10.0.22:80)" 0
expect_eq "drained by" "$(rs_api $WEB 10.10.0.22:80 drained by)" external
expect_eq "its verdict" "$(rs_api $WEB 10.10.0.22:80 verdict)" up
expect_eq "weights given back" "$(metric lvs_weight_changes_total virtual_server=$WEB direction=restore)" 0

step "nor does its failure and recovery raise it"
crash r2
wait_for "it is judged down" 10 rs_metric_is 0 lvs_real_server_up $WEB 10.10.0.22:80
serve r2
wait_for "it is judged up" 10 rs_metric_is 1 lvs_real_server_up $WEB 10.10.0.22:80
further_probes 3 $WEB 10.10.0.22:80
expect_eq "its weight" "$(weight $WEB 10.10.0.22:80)" 0
expect_eq "the other weights" "$(weight $WEB 10.10.0.21:80) $(weight $WEB 10.10.0.23:80)" "5 5"

step "a weight by hand becomes the owed one"
set_weight $WEB 10.10.0.21:80 7
wait_for "7 is owed" 10 rs_metric_is 7 lvs_real_server_owed_weight $WEB 10.10.0.21:80
crash r1
wait_for "it is drained" 10 weight_is $WEB 10.10.0.21:80 0
expect_eq "owed meanwhile" "$(rs_metric lvs_real_server_owed_weight $WEB 10.10.0.21:80)" 7
serve r1
wait_for "it has 7 back" 15 weight_is $WEB 10.10.0.21:80 7

step "so does one given in place of the 0"
set_weight $WEB 10.10.0.22:80 9
wait_for "9 is owed" 10 rs_metric_is 9 lvs_real_server_owed_weight $WEB 10.10.0.22:80
crash r2
wait_for "it is drained" 10 weight_is $WEB 10.10.0.22:80 0
serve r2
wait_for "it has 9 back" 15 weight_is $WEB 10.10.0.22:80 9

step "an operator who insists: raised over our drain, it is drained once more and then left"
crash r3
wait_for "it is drained" 10 weight_is $WEB 10.10.0.23:80 0
journal_start
set_weight $WEB 10.10.0.23:80 4
drained_again() { tail -n +4 "$T/journal" | grep -q ' 10.10.0.23:80 0$'; } # after the table as it was
wait_for "it is drained once more" 15 drained_again
wait_for "the agent has read that back" 10 rs_metric_is 0 ipvs_real_server_weight $WEB 10.10.0.23:80
set_weight $WEB 10.10.0.23:80 4
further_probes 4 $WEB 10.10.0.23:80
expect_eq "its weight" "$(weight $WEB 10.10.0.23:80)" 4
expect_eq "the API says why" "$(rs_api $WEB 10.10.0.23:80 held)" '{"reason":"tug_of_war","would":0}'
agent_stop
