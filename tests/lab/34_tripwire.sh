# The tripwire: a server process dies, and its weight is 0 long before the next probe was due, because its connection
# ended. A server that closes idle connections and one that has room for a single one stay in, and are left in peace.
# 5 crashes, LAB_CRASHES=N as many; their median and longest are printed, not judged: the machine may be busy.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
crashes=${LAB_CRASHES:-5}
cluster 1
real_server 2 impatient
real_server 3 single
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 5 10.10.0.23:80 5
config() { # INTERVAL
  agent_config <<END
[defaults]
interval = "$1"
timeout = "1s"
rise = 2
fall = 3
tripwire = true
[check.web]
type = "http"
[[service]]
match = ["$WEB"]
checks = ["web"]
END
}
wire() { rs_metric_is "$1" lvs_check_tripwire_"$2" $WEB "$3:80" "${@:4}"; }
drains() { metric lvs_weight_changes_total virtual_server=$WEB direction=drain; }
attempts() { rs_metric lvs_check_attempts_total $WEB "$1:80"; }

config 2s
agent_start
wait_for "r1's wire" 20 wire 1 armed 10.10.0.21
took=()
for ((n = 1; n <= crashes; n++)); do
  let_pass "0.$((RANDOM % 900 + 100))"
  read -r ms _ < <("$TOOLS" referee $WEB 10.10.0.21:80 0 10 kill "${SERVER[r1]}")
  took+=("$ms")
  expect_eq "trips of r1" "$(rs_metric lvs_check_tripwire_trips_total $WEB 10.10.0.21:80)" "$n"
  wait_for "it is not armed while it is down" 10 wire 0 armed 10.10.0.21
  serve r1
  wait_for "r1 has its weight back" 20 weight_is $WEB 10.10.0.21:80 5
  wait_for "r1's wire is back" 30 wire 1 armed 10.10.0.21
done
mapfile -t sorted < <(printf '%s\n' "${took[@]}" | sort -n)
step "$crashes crashes, interval 2 s: median ${sorted[(crashes - 1) / 2]} ms, longest ${sorted[crashes - 1]} ms: ${sorted[*]}"
expect_eq "drains" "$(drains)" "$crashes"

step "a server that closes idle connections, and one with room for a single one"
wait_for "r2 is shown" 30 wire 1 degraded 10.10.0.22 reason=closed
wait_for "r3 is shown" 30 wire 1 degraded 10.10.0.23 reason=refused
expect_eq "the API" "$(rs_api $WEB 10.10.0.22:80 checks web tripwire degraded)" closed
for rs in 10.10.0.22 10.10.0.23; do
  expect_eq "$rs is up" "$(rs_metric lvs_real_server_up $WEB $rs:80)" 1
  expect "$rs is in" weight_is $WEB $rs:80 5
done
agent_stop

step "the trip is the cause: the next probe was due in half a minute"
config 30s
agent_start
wait_for "r1's wire" 60 wire 1 armed 10.10.0.21
let_pass 5
before=$(attempts 10.10.0.21)
read -r ms _ < <("$TOOLS" referee $WEB 10.10.0.21:80 0 10 kill "${SERVER[r1]}")
wait_for "its probes" 10 rs_metric_is $((before + 3)) lvs_check_attempts_total $WEB 10.10.0.21:80
expect_eq "failures in a row" "$(rs_metric lvs_check_consecutive_failures $WEB 10.10.0.21:80)" 3
step "out after $ms ms, by three probes"

step "no storm: few probes of the servers that do not let a wire be"
expect_eq "trips of r3" "$(rs_metric lvs_check_tripwire_trips_total $WEB 10.10.0.23:80)" 0
trips=$(rs_metric lvs_check_tripwire_trips_total $WEB 10.10.0.22:80)
# In a minute at most: 2 to settle, 2 by the interval, 2 a trip, and wires 1, 2, 4, 8, 16, 32 s apart.
expect "trips of r2: $trips" [ "$trips" -ge 1 -a "$trips" -le 6 ]
expect "probes of r2: $(attempts 10.10.0.22)" [ "$(attempts 10.10.0.22)" -le $((6 + 2 * trips)) ]
expect "r2 is in" weight_is $WEB 10.10.0.22:80 5
agent_stop
