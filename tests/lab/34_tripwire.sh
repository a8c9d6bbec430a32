# The tripwire: a server process dies, and its weight is 0 long before the next probe was due, because its connection
# ended. A server that closes idle connections and one that has room for a single one stay in, and are left in peace;
# with kept connections the second has a tripwire too.
# 5 crashes, LAB_CRASHES=N as many; their median and longest are printed, not judged: the machine may be busy.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
crashes=${LAB_CRASHES:-5}
step "a cluster"
cluster 1
real_server 2 impatient
real_server 3 single
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 5 10.10.0.23:80 5
config() { # INTERVAL [LINE OF THE CHECK]
  default_config '' '' "${2:-}"
  defaults "interval = \"$1\"" 'rise = 2' 'fall = 3' 'tripwire = true'
}
wire() { rs_metric_is "$1" lvs_check_tripwire_"$2" $WEB "$3:80" "${@:4}"; }
drains() { metric lvs_weight_changes_total virtual_server=$WEB direction=drain; }
attempts() { rs_metric lvs_check_attempts_total $WEB "$1:80"; }

step "a server process dies"
config 2s
began=$SECONDS
agent_start
wait_for "r1's wire" 20 wire 1 armed 10.10.0.21
took=()
for ((n = 1; n <= crashes; n++)); do
  let_pass "0.$((RANDOM % 900 + 100))"
  read -r ms _ < <("$TOOLS" referee $WEB 10.10.0.21:80 0 10 kill "${SERVER[r1]}")
  took+=("$ms")
  step "out after $ms ms"
  expect_eq "trips of r1" "$(rs_metric lvs_check_tripwire_trips_total $WEB 10.10.0.21:80)" "$n"
  serve r1
  wait_for "r1 has its weight back" 20 weight_is $WEB 10.10.0.21:80 5
  wait_for "r1's wire is back" 30 wire 1 armed 10.10.0.21
done
read -r median longest all < <(figures "${took[@]}")
step "$crashes crashes, interval 2 s: median $median ms, longest $longest ms: $all"
expect_eq "drains" "$(drains)" "$crashes"

step "a server that closes idle connections, and one with room for a single one"
wait_for "r2 is shown" 30 wire 1 degraded 10.10.0.22 reason=closed
wait_for "r3 is shown" 30 wire 1 degraded 10.10.0.23 reason=refused
expect_eq "trips of r3" "$(rs_metric lvs_check_tripwire_trips_total $WEB 10.10.0.23:80)" 0
trips=$(rs_metric lvs_check_tripwire_trips_total $WEB 10.10.0.22:80) probes=$(attempts 10.10.0.22) time=$((SECONDS - began + 1))
# Wires of a second each, at least 1.5, 3, 6, … s apart; two probes for each, those of the interval, two to settle.
expect "trips of r2 in $time s: $trips" [ "$trips" -ge 1 -a $((1 << trips)) -le "$((2 * time))" ]
expect "probes of r2 in $time s: $probes" [ "$probes" -le $((4 + 2 * trips + time / 2 + time / 20)) ]
expect_eq "the API" "$(rs_api $WEB 10.10.0.22:80 checks web tripwire degraded)" closed
for rs in 10.10.0.22 10.10.0.23; do
  expect_eq "$rs is up" "$(rs_metric lvs_real_server_up $WEB $rs:80)" 1
  expect "$rs is in" weight_is $WEB $rs:80 5
done
agent_stop

step "the trip is the cause: the next probe was due in ten seconds"
config 10s
agent_start
wait_for "r1's wire" 30 wire 1 armed 10.10.0.21
before=$(attempts 10.10.0.21)
read -r ms _ < <("$TOOLS" referee $WEB 10.10.0.21:80 0 8 kill "${SERVER[r1]}")
step "out after $ms ms"
expect_eq "probes since" "$(($(attempts 10.10.0.21) - before))" 3
expect_eq "failures in a row" "$(rs_metric lvs_check_consecutive_failures $WEB 10.10.0.21:80)" 3
expect_eq "trips" "$(rs_metric lvs_check_tripwire_trips_total $WEB 10.10.0.21:80)" 1
expect_eq "armed while it is down" "$(rs_metric lvs_check_tripwire_armed $WEB 10.10.0.21:80)" 0
agent_stop

step "a connection kept for probes is the tripwire too, so there is one where there is room for a single one"
serve r1
config 2s 'connection = "reuse"'
agent_start
wait_for "r1 has its weight back" 20 weight_is $WEB 10.10.0.21:80 5
for n in 1 3; do wait_for "r$n's wire" 30 wire 1 armed 10.10.0.2$n; done
for n in 1 3; do expect_eq "connections at r$n" "$(ip netns exec r$n ss -Htn state established '( sport = :80 )' | wc -l)" 1; done
read -r ms _ < <("$TOOLS" referee $WEB 10.10.0.21:80 0 8 kill "${SERVER[r1]}")
step "out after $ms ms"
expect_eq "trips" "$(rs_metric lvs_check_tripwire_trips_total $WEB 10.10.0.21:80)" 1
expect_eq "failures in a row" "$(rs_metric lvs_check_consecutive_failures $WEB 10.10.0.21:80)" 3
agent_stop
