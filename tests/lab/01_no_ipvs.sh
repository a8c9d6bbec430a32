# A kernel without IPVS: the agent serves `ipvs_up 0`, does not load the module, and recovers when it appears.
# The first test: none before it may have loaded the module.
. "$(dirname "$0")/lib.sh"
expect "IPVS is not loaded" test ! -e /proc/net/ip_vs

default_config
agent_start
step "it serves, and says that it has nothing to read"
expect_eq "ipvs_up" "$(metric ipvs_up)" 0
expect_eq "/-/ready" "$(curl -s -o /dev/null -w '%{http_code}' $URL/-/ready)" 503
expect_eq "a virtual server" "$(metric ipvs_virtual_server_real_servers)" absent
agent_run 69 status
expect "a machine that is no director is left without the module" test ! -e /proc/net/ip_vs

step "the module appears"
modprobe ip_vs
wait_for "ipvs_up 1" 20 metric_is 1 ipvs_up
cluster 1
virtual_server $WEB rr 10.10.0.21:80 1
wait_for "the server is judged" 20 rs_metric_is 1 lvs_real_server_up $WEB 10.10.0.21:80
expect_eq "/-/ready" "$(curl -s -o /dev/null -w '%{http_code}' $URL/-/ready)" 200
agent_stop
