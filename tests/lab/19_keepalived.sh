# Beside keepalived, which holds the VIP by VRRP and made the table, without checkers of its own: it never notices.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
documented conf static | keepalived_conf
keepalived_start
owed="-A -t $VIP:80 -s wrr
-a -t $VIP:80 -r 10.10.0.21:80 -g -w 3
-a -t $VIP:80 -r 10.10.0.22:80 -g -w 4"
wait_for "keepalived has made the table" 10 table_is "$owed"
journal_start
documented toml static | agent_config
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
said() { grep -v 'gratuitous ARP' "$T/keepalived.log"; } # it repeats those on its own
before=$(said)

step "the agent drains a server of keepalived's table and gives it back"
load_start
wait_for "20 requests" 20 requests_reach 20
read -r _ us < <("$TOOLS" referee $WEB 10.10.0.22:80 0 10 kill "${SERVER[r2]}")
wait_for "60 further requests" 30 requests_reach $(($(requests) + 60))
load_stop
expect_eq "failed requests begun after the weight was 0" "$(failed_between "$us" 9999999999999999)" ""
expect_eq "the rest of the table" "$(ipvsadm -Sn)" "${owed/-w 4/-w 0}"
serve r2
wait_for "the weight is back" 15 table_is "$owed"

step "keepalived has not noticed"
expect_eq "its log" "$(said)" "$before"
expect "it still holds the VIP" vip_is_here
expect "it runs" kill -0 $KEEPALIVED
expect_eq "changes of the table: made, drained, given back" "$(cut -d' ' -f2- "$T/journal")" "$WEB 10.10.0.21:80 3
$WEB 10.10.0.22:80 4
$WEB 10.10.0.22:80 0
$WEB 10.10.0.22:80 4"

step "its reload leaves a drain alone"
crash r1
wait_for "r1 is out" 15 weight_is $WEB 10.10.0.21:80 0
keepalived_reload
further_probes 3 $WEB 10.10.0.21:80
expect_eq "the table" "$(ipvsadm -Sn)" "${owed/-w 3/-w 0}"
serve r1
wait_for "the weight is back" 15 table_is "$owed"
agent_stop
