# Who holds the virtual addresses: told by the kernel the moment they move, by hand and by VRRP between two directors.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 1
host d2 12
SECOND=10.10.0.101 MARKED=10.10.0.102
virtual_server $WEB wrr 10.10.0.21:80 1
virtual_server $SECOND:80/tcp wrr 10.10.0.21:80 1
virtual_server fwmark:7/ipv4 rr 10.10.0.21:0 1
agent_config <<END
[director]
vips = ["$MARKED"]
[[service]]
match = ["*:*/tcp"]
checks = []
END
agent_start

vip() { metric lvs_vip_present vip="$1"; }
vip_is() { metric_is "$1" lvs_vip_present vip="$2"; }
moves_are() { metric_is "$1" lvs_vip_transitions_total vip="$2"; }

step "the addresses of the table and of the configuration, here and not here"
expect_eq "the first" "$(vip $VIP)" 1
expect_eq "its interface" "$(metric lvs_vip_info vip=$VIP interface=eth0 sharing=exclusive)" 1
expect_eq "the second" "$(vip $SECOND)" 0
expect_eq "the one behind the mark" "$(vip $MARKED)" 0
expect_eq "a node address is none" "$(vip 10.10.0.11)" absent
expect_eq "active" "$(metric lvs_director_active)" 1
expect_eq "the collector" "$(metric lvs_agent_collector_success collector=addresses)" 1
expect_eq "never moved" "$(metric lvs_vip_change_timestamp_seconds vip=$VIP)" absent

step "by hand: it goes, comes on another interface, and is counted"
ip addr del $VIP/32 dev eth0
wait_for "it is gone" 10 vip_is 0 $VIP
expect_eq "the director holds none" "$(metric lvs_director_active)" 0
expect_eq "so says the API" "$("$TOOLS" json $URL/api/v1/status director_active)" false
ip addr add $VIP/32 dev lo
wait_for "it is back" 10 vip_is 1 $VIP
expect_eq "on lo" "$(metric lvs_vip_info vip=$VIP interface=lo)" 1
expect_eq "not on eth0" "$(metric lvs_vip_info vip=$VIP interface=eth0)" absent
wait_for "twice it moved" 5 moves_are 2 $VIP
expect "the time of it is known" metric_above 1000000000 lvs_vip_change_timestamp_seconds vip=$VIP
ip addr add $MARKED/32 dev eth0
wait_for "the one behind the mark is here" 10 vip_is 1 $MARKED
ip addr del $VIP/32 dev lo

step "a storm of other addresses overruns no count, and loses nothing"
for n in $(seq 1 250); do echo "addr add 10.99.0.$n/32 dev lo"; done >"$T/tmp/storm"
{ cat "$T/tmp/storm"; sed "s/addr add/addr del/" "$T/tmp/storm"; echo "addr add $SECOND/32 dev eth0"; } >"$T/tmp/batch"
ip -batch "$T/tmp/batch"
wait_for "the last of them is seen" 20 vip_is 1 $SECOND
expect_eq "it moved once" "$(metric lvs_vip_transitions_total vip=$SECOND)" 1
ip addr del $SECOND/32 dev eth0
ip addr del $MARKED/32 dev eth0

step "by VRRP: this director is the backup of d2, then its heir"
vrrp() { # NAME PRIORITY
  cat >"$T/$1.conf" <<END
global_defs {
  router_id $1
}
vrrp_instance web {
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority $2
  advert_int 1
  virtual_ipaddress {
    $VIP/32
  }
}
END
}
vrrp d1 100
vrrp d2 200
ip netns exec d2 keepalived --vrrp --dont-fork --log-console -f "$T/d2.conf" -p "$T/d2.pid" -r "$T/d2-vrrp.pid" \
  >"$T/keepalived-d2.log" 2>&1 &
other=$!
on_d2() { [ -n "$(ip -n d2 -4 -o addr show dev eth0 to $VIP)" ]; }
wait_for "d2 holds the address" 20 on_d2
keepalived --vrrp --dont-fork --log-console -f "$T/d1.conf" -p "$T/d1.pid" -r "$T/d1-vrrp.pid" >"$T/keepalived-d1.log" 2>&1 &
own=$!
wait_for "d1 is its backup" 20 grep -q 'Entering BACKUP STATE' "$T/keepalived-d1.log"
expect_eq "not here" "$(vip $VIP)" 0
expect_eq "not active" "$(metric lvs_director_active)" 0
before=$(metric lvs_vip_transitions_total vip=$VIP)
kill -9 $other $(<"$T/d2-vrrp.pid")
wait_for "the address is here" 20 vip_is 1 $VIP
expect_eq "active" "$(metric lvs_director_active)" 1
expect_eq "one move" "$(metric lvs_vip_transitions_total vip=$VIP)" $((before + 1))
expect_match "the log" "$(<"$T/agent.log")" "the virtual address is on this director now.*$VIP"
kill $own
wait_for "keepalived gives it up" 20 vip_is 0 $VIP
expect_eq "not active" "$(metric lvs_director_active)" 0

step "the sync daemon, by role"
expect_eq "no master" "$(metric ipvs_sync_daemon_running role=master)" 0
ipvsadm --start-daemon backup --mcast-interface eth0 --syncid 9
wait_for "the backup daemon is seen" 15 metric_is 1 ipvs_sync_daemon_running role=backup
expect_eq "its settings" "$(metric ipvs_sync_daemon_info role=backup interface=eth0 sync_id=9)" 1
ipvsadm --stop-daemon backup
wait_for "it has ended" 15 metric_is 0 ipvs_sync_daemon_running role=backup
expect_eq "no settings" "$(metric ipvs_sync_daemon_info role=backup)" absent
agent_stop
