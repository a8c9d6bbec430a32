# The lab itself, without the agent: direct routing, both families, works; its instruments see what happens.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
virtual_server $WEB rr 10.10.0.21:80 1 10.10.0.22:80 65535
virtual_server "[$VIP6]:80/tcp" rr [fd00:10::21]:80 3
virtual_server $VIP:53/udp rr 10.10.0.21:53 2
virtual_server fwmark:7/ipv4 rr 10.10.0.21:0 4
virtual_server fwmark:7/ipv6 rr [fd00:10::21]:0 5

step "weights are read for every kind of service"
expect_eq "TCP" "$(weight $WEB 10.10.0.22:80)" 65535
expect_eq "IPv6" "$(weight "[$VIP6]:80/tcp" [fd00:10::21]:80)" 3
expect_eq "UDP" "$(weight $VIP:53/udp 10.10.0.21:53)" 2
expect_eq "mark, IPv4" "$(weight fwmark:7/ipv4 10.10.0.21:0)" 4
expect_eq "mark, IPv6" "$(weight fwmark:7/ipv6 [fd00:10::21]:0)" 5
expect_eq "no such server" "$(weight $WEB 10.10.0.29:80)" absent

step "clients reach both real servers, over both families"
expect_eq "two requests" "$(for _ in 1 2; do in_ns client curl -sm 5 http://$VIP/; done | sort)" $'r1\nr2'
expect_eq "over IPv6" "$(in_ns client curl -sm 5 "http://[$VIP6]/")" r1

step "the load client and the journal record what happens"
journal_start
load_start
wait_for "20 requests" 20 requests_reach 20
crash r2
wait_for "a failed request" 10 grep -q failed "$T/load"
read -r ms us < <("$TOOLS" referee $WEB 10.10.0.22:80 0 10 & set_weight $WEB 10.10.0.22:80 0; wait)
expect "the referee's milliseconds ($ms)" test "$ms" -lt 5000
wait_for "40 further requests" 20 requests_reach $(($(requests) + 40))
load_stop
expect_eq "failed requests begun after the weight was 0" "$(failed_between "$us" 9999999999999999)" ""
wait_for "the journal has the change" 5 grep -q " $WEB 10.10.0.22:80 0\$" "$T/journal"
