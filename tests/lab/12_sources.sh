# Probes leave from the node's own address, whatever the kernel would choose: from a virtual address, which the real
# servers hold too, they would answer themselves, and every one of them would be judged down.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
web6="[$VIP6]:80/tcp"
cluster 2
virtual_server $WEB wrr 10.10.0.21:80 3 10.10.0.22:80 4
virtual_server "$web6" wrr [fd00:10::21]:80 5 [fd00:10::22]:80 6
owed=$(ipvsadm -Sn)

chosen_is() { [[ "$(ip route get "$1")" == *" src $2 "* ]]; }
inconclusive_above() { metric_above "$1" lvs_check_inconclusive_total virtual_server="$2" reason=local_error; }
failures() { "$TOOLS" get "$URL/metrics" | grep -c '^lvs_check_failures_total{' || true; }
all_well() { # after more probes of each, not one of which failed
  further_probes 2 $WEB 10.10.0.21:80
  further_probes 2 "$web6" [fd00:10::21]:80
  expect_eq "failed probes" "$(failures)" 0
  expect "the table is as it was" table_is "$owed"
}

step "the kernel would choose the virtual address in both families"
ip addr flush dev eth0 scope global
ip -batch - <<END
addr add $VIP/24 dev eth0
addr add 10.10.0.11/24 dev eth0 label eth0:node
addr add fd00:10::11/64 dev eth0 nodad
addr add $VIP6/128 dev eth0 nodad
END
chosen_is 10.10.0.21 $VIP || fail "IPv4: $(ip route get 10.10.0.21)"
chosen_is fd00:10::21 $VIP6 || fail "IPv6: $(ip route get fd00:10::21)"
default_config
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
wait_for "both are judged up over IPv6" 20 state_is 2 up "$web6"
all_well

step "as keepalived adds it, deprecated"
ip addr change $VIP6/128 dev eth0 preferred_lft 0
chosen_is fd00:10::21 fd00:10::11 || fail "IPv6: $(ip route get fd00:10::21)"
all_well

step "the virtual address comes with a failover: from then on the kernel chooses it"
ip addr del $VIP6/128 dev eth0
all_well
ip addr add $VIP6/128 dev eth0 nodad
chosen_is fd00:10::21 $VIP6 || fail "IPv6: $(ip route get fd00:10::21)"
all_well

step "the node's address changes"
ip addr add fd00:10::20/64 dev eth0 nodad
let_pass 6 # the addresses are read again
all_well
ip addr del fd00:10::20/64 dev eth0
all_well

step "no address but the virtual ones: nothing is known of the servers, and nobody is drained"
ip addr del fd00:10::11/64 dev eth0
ip route add fd00:10::/64 dev eth0 # which went with the address
ip addr del 10.10.0.11/24 dev eth0
wait_for "inconclusive probes" 10 inconclusive_above 3 $WEB
wait_for "inconclusive probes over IPv6" 10 inconclusive_above 3 "$web6"
expect_eq "failed probes" "$(failures)" 0
expect "the table is as it was" table_is "$owed"
agent_run 69 probe "$web6" [fd00:10::21]:80
expect_match "it says why" "$OUT" "send from fd00:10::100, a virtual address, .* write the check's .source"
agent_stop
agent_run 69 probe "$web6" [fd00:10::21]:80 --config "$T/agent.toml"
expect_match "and without an agent" "$OUT" "send from fd00:10::100, a virtual address, .* write the check's .source"

step "with the node's addresses back all is well"
ip addr add 10.10.0.11/24 dev eth0
ip addr add fd00:10::11/64 dev eth0 nodad
agent_run 0 probe "$web6" [fd00:10::21]:80 --config "$T/agent.toml"
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
wait_for "both are judged up over IPv6" 20 state_is 2 up "$web6"
all_well
agent_stop
