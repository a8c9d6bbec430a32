# Beside keepalived, which holds the VIP by VRRP and made the table, without checkers of its own: it never notices.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
ip addr del $VIP/32 dev eth0
cat >"$T/keepalived.conf" <<END
global_defs {
  router_id d1
}
vrrp_instance web {
  state MASTER
  interface eth0
  virtual_router_id 51
  priority 200
  advert_int 1
  virtual_ipaddress {
    $VIP/32
  }
}
virtual_server $VIP 80 {
  lvs_sched wrr
  lvs_method DR
  protocol TCP
  real_server 10.10.0.21 80 {
    weight 3
  }
  real_server 10.10.0.22 80 {
    weight 4
  }
}
END
keepalived --dont-fork --log-console --log-detail -f "$T/keepalived.conf" -p "$T/keepalived.pid" >"$T/keepalived.log" 2>&1 &
keepalived=$!
vip_is_here() { [ -n "$(ip -4 -o addr show dev eth0 to $VIP)" ]; }
wait_for "keepalived is master" 20 vip_is_here
owed="-A -t $VIP:80 -s wrr
-a -t $VIP:80 -r 10.10.0.21:80 -g -w 3
-a -t $VIP:80 -r 10.10.0.22:80 -g -w 4"
wait_for "keepalived has made the table" 10 table_is "$owed"
journal_start
default_config
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
expect "it runs" kill -0 $keepalived
expect_eq "changes of the table: made, drained, given back" "$(cut -d' ' -f2- "$T/journal")" "$WEB 10.10.0.21:80 3
$WEB 10.10.0.22:80 4
$WEB 10.10.0.22:80 0
$WEB 10.10.0.22:80 4"

step "its reload leaves a drain alone"
crash r1
wait_for "r1 is out" 15 weight_is $WEB 10.10.0.21:80 0
kill -HUP $keepalived
wait_for "keepalived has reloaded" 15 grep -q 'Reloading' "$T/keepalived.log"
further_probes 3 $WEB 10.10.0.21:80
expect_eq "the table" "$(ipvsadm -Sn)" "${owed/-w 3/-w 0}"
serve r1
wait_for "the weight is back" 15 table_is "$owed"
agent_stop
