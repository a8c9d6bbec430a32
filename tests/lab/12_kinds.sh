# Services by mark, over IPv6, over UDP (judged by a TCP check, which the pattern asks for), and through tunnels: only the
# weight changes; what else a destination has (its tunnel above all) survives.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
virtual_server "[$VIP6]:80/tcp" wrr [fd00:10::21]:80 3 [fd00:10::22]:80 4
virtual_server fwmark:7/ipv4 sh 10.10.0.21:0 7 10.10.0.22:0 8
virtual_server fwmark:7/ipv6 rr [fd00:10::21]:0 9 [fd00:10::22]:0 10
ipvsadm -R <<END
-A -u $VIP:53 -s wlc -o
-a -u $VIP:53 -r 10.10.0.21:53 -g -w 5
-a -u $VIP:53 -r 10.10.0.22:53 -g -w 6
-A -t $VIP:8080 -s wrr -p 120
-a -t $VIP:8080 -r 10.10.0.21:8080 -i -w 11 -x 5000 -y 4000
-a -t $VIP:8080 -r 10.10.0.22:8080 -g -w 12
-A -t $VIP:8081 -s mh -b mh-fallback
-a -t $VIP:8081 -r 10.10.0.21:8081 -i -w 13 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t $VIP:8081 -r 10.10.0.22:8081 -m -w 14
-A -t $VIP:8082 -s lc
-a -t $VIP:8082 -r 10.10.0.21:8082 -i -w 15 --tun-type gre --tun-csum
-a -t $VIP:8082 -r 10.10.0.22:8082 -i -w 16
END
owed=$(ipvsadm -Sn)
thresholds=$(ipvsadm -Ln --thresholds)
expect_match "the table has its thresholds" "$thresholds" "10.10.0.21:8080 +5000 +4000"
expect_match "the table has its tunnels" "$owed" "tun-type gue --tun-port 6080 --tun-remcsum"
expect_match "the table has its tunnels" "$owed" "tun-type gre --tun-csum"
default_config '' '"*:*/tcp", "*:53/udp", "fwmark:*/ipv4", "fwmark:*/ipv6"' 'port = 80'
agent_start
for service in "[$VIP6]:80/tcp" $VIP:53/udp fwmark:7/ipv4 fwmark:7/ipv6 $VIP:8080/tcp $VIP:8081/tcp $VIP:8082/tcp; do
  wait_for "both servers of $service are judged up" 20 state_is 2 up "$service"
done

step "a server dies: all its weights, in whatever kind of service, go to 0, and nothing else changes"
crash r1
drained=$(sed -E '/-r (10\.10\.0\.21|\[fd00:10::21\]):/s/-w [0-9]+/-w 0/' <<<"$owed")
wait_for "seven services without it" 15 table_is "$drained"
step "it comes back: the table is what it was, to the letter"
serve r1
wait_for "the table as it was" 20 table_is "$owed"
expect_eq "connection thresholds" "$(ipvsadm -Ln --thresholds)" "$thresholds"
wait_for "an empty ledger" 10 metric_is 0 lvs_agent_ledger_entries
agent_stop
