# Between two reads of the table a real server is taken out and added again, its service is built anew, or somebody only
# zeroes the counters: what the kernel shows of it, and what the agent makes of that (trap 6).
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 3
OTHER=10.10.0.100:81/tcp # not the agent's: where the kernel alone is looked at

rows() { # PORT in hex: of the service on the VIP, its real servers' last octets and weights, as a dump shows them
  local -a line; local service= found=
  while read -r -a line; do
    if [ "${line[0]}" != '->' ]; then service=${line[1]:-}
    elif [ "$service" = "0A0A0064:$1" ]; then found+="$((16#${line[1]:6:2}))=${line[3]} "; fi
  done </proc/net/ip_vs
  echo "$found"
}
connections() { # ADDR:PORT: of the service and each of its real servers
  ipvsadm -Ln --stats --exact | awk -v service="$1" '$1 == "->" { if (on) printf "%s ", $3; next }
    { on = $2 == service; if (on) printf "%s: ", $3 }'
}
at_once() { printf '%s\n' "$@" | ipvsadm -R; } # COMMAND...: by one process, much faster than a poll

step "what the kernel shows"
virtual_server $OTHER rr 10.10.0.21:81 5 10.10.0.22:81 6 10.10.0.23:81 7
for n in 1 2 3; do ip netns exec r$n "$TOOLS" serve '[::]:81' "r$n" >>"$T/serve.log" 2>&1 & disown; done
load_start $VIP:81
wait_for "clients came by" 20 requests_reach 30
load_stop
some() { [[ $(connections $VIP:81) =~ ^[1-9][0-9]*:\ [1-9][0-9]*\ [1-9][0-9]*\ [1-9][0-9]*\ $ ]]; }
wait_for "they are counted" 10 some
let_pass 2.5 # the counters are copies that are two seconds old
before=$(connections $VIP:81)
expect_eq "the newest first" "$(rows 0051)" "23=7 22=6 21=5 "
set_weight $OTHER 10.10.0.21:81 0
expect_eq "an edit moves nothing" "$(rows 0051)" "23=7 22=6 21=0 "
at_once "-d -t $VIP:81 -r 10.10.0.21:81" "-a -t $VIP:81 -r 10.10.0.21:81 -g -w 3"
expect_eq "added again it is in front" "$(rows 0051)" "21=3 23=7 22=6 "
expect_eq "with its old counters" "$(connections $VIP:81)" "$before"
at_once "-a -t $VIP:81 -r 10.10.0.24:81 -g -w 1"
expect_eq "a new one moves nothing else" "$(rows 0051)" "24=1 21=3 23=7 22=6 "
at_once "-Z -t $VIP:81"
expect_eq "zeroed counters move nothing" "$(rows 0051)" "24=1 21=3 23=7 22=6 "
expect_eq "and begin anew, for the service and all in it" "$(connections $VIP:81)" "0: 0 0 0 0 "

step "an agent, and r1 is out"
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6 10.10.0.23:80 7
default_config '' "\"$WEB\""
agent_start
wait_for "all three are judged up" 20 state_is 3 up $WEB
act r1 unavailable
wait_for "r1 is drained" 15 weights_are 0 6 7

step "added again with a weight it is drained each time, and that is no tug of war"
noted() { [ "$(grep -c 'was taken out and added again' "$T/agent.log")" = "$1" ]; }
for round in 1 2; do
  # Each time it has to overtake somebody.
  at_once "-d -t $VIP:80 -r 10.10.0.22:80" "-a -t $VIP:80 -r 10.10.0.22:80 -g -w 6"
  let_pass 2.5 # a poll
  at_once "-d -t $VIP:80 -r 10.10.0.21:80" "-a -t $VIP:80 -r 10.10.0.21:80 -g -w $((round + 8))"
  wait_for "round $round: it is noticed" 10 noted $round
  wait_for "round $round: it is drained" 10 weights_are 0 6 7
done
expect_eq "owed" "$(rs_api $WEB 10.10.0.21:80 owed_weight)" 10
expect_eq "held" "$(rs_api $WEB 10.10.0.21:80 held)" null

step "zeroed counters change nothing: its weight goes back"
ipvsadm -Z
let_pass 2.5 # a poll
act r1 good
wait_for "r1 has its weight back" 15 weights_are 10 6 7

step "added again with 0 it is a standby: not raised, but its weight is known"
act r1 unavailable
wait_for "r1 is drained" 15 weights_are 0 6 7
at_once "-d -t $VIP:80 -r 10.10.0.22:80" "-a -t $VIP:80 -r 10.10.0.22:80 -g -w 6"
let_pass 2.5
at_once "-d -t $VIP:80 -r 10.10.0.21:80" "-a -t $VIP:80 -r 10.10.0.21:80 -g -w 0"
wait_for "it counts as drained by somebody else" 10 rs_api_is external $WEB 10.10.0.21:80 drained by
expect_match "the log" "$(grep 'a ledger entry lapsed' "$T/agent.log")" '10\.10\.0\.21:80.*owed=10.*added_again'
act r1 good
wait_for "r1 is judged up" 15 rs_metric_is 1 lvs_real_server_up $WEB 10.10.0.21:80
further_probes 3 $WEB 10.10.0.21:80
expect "it stays at 0" weights_are 0 6 7
agent_run 0 undrain 10.10.0.21:80
wait_for "undrain gives it back" 10 weights_are 10 6 7

step "a service that was built anew: the one that fails is out again at once"
act r1 unavailable
wait_for "r1 is drained" 15 weights_are 0 6 7
rm "$T/load"
load_start
wait_for "clients" 20 requests_reach 20
load_stop
counted() { metric_above 0 ipvs_virtual_server_connections_total virtual_server=$WEB; }
wait_for "they are counted, and the agent has read it" 15 counted
at_once "-D -t $VIP:80" "-A -t $VIP:80 -s wrr" "-a -t $VIP:80 -r 10.10.0.21:80 -g -w 10" \
  "-a -t $VIP:80 -r 10.10.0.22:80 -g -w 6" "-a -t $VIP:80 -r 10.10.0.23:80 -g -w 7"
wait_for "it is noticed" 10 noted 3
wait_for "r1 is drained" 15 weights_are 0 6 7
expect_eq "held" "$(rs_api $WEB 10.10.0.21:80 held)" null
agent_stop
