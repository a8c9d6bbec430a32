# What tells a destination that was added again from one whose weight was edited (trap 6), as the kernel shows it.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 3
virtual_server $WEB rr 10.10.0.21:80 5 10.10.0.22:80 6 10.10.0.23:80 7
show() { echo "## $1"; cat /proc/net/ip_vs | tail -n +4; ipvsadm -Ln --stats --exact | tail -n +4; ipvsadm -Sn; }
load_start
wait_for "load" 20 requests_reach 60
load_stop
let_pass 4
show start
ipvsadm -e -t $VIP:80 -r 10.10.0.21:80 -g -w 0
show "edited .21 to 0"
ipvsadm -d -t $VIP:80 -r 10.10.0.21:80
ipvsadm -a -t $VIP:80 -r 10.10.0.21:80 -g -w 3
show "readded .21"
ipvsadm -d -t $VIP:80 -r 10.10.0.21:80
ipvsadm -a -t $VIP:80 -r 10.10.0.21:80 -g -w 0
show "readded .21 at 0 (it was in front)"
ipvsadm -a -t $VIP:80 -r 10.10.0.24:80 -g -w 1
show "added .24"
ipvsadm -Z -t $VIP:80
let_pass 4
show "ZERO"
load_start
n=$(requests)
wait_for "load" 20 requests_reach $((n + 60))
load_stop
let_pass 4
show "traffic again"
ipvsadm -Sn >$T/saved
ipvsadm -C
ipvsadm -R <$T/saved
let_pass 4
show "table rebuilt from -S"
