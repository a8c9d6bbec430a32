# How long until a failed real server has weight 0: lvs-agent (interval 1 s; timeout 1 s, fall 1) and keepalived (delay_loop 1,
# retry 0, inhibit_on_failure), the same check of the same three servers, each alone on the director.
. "$(dirname "$0")/lib.sh"

like_keepalived=$(printf 'timeout = "1s"\nfall = 1')
eager=$(printf 'timeout = "300ms"\nfall = 2\nfast-interval = "100ms"')
pace=$like_keepalived

agent_up() { # KIND
  agent_config <<END
[defaults]
interval = "1s"
rise = 1
$pace
[check.web]
type = "$1"
[[service]]
match = ["$WEB"]
checks = ["web"]
END
  agent_checks
}

keepalived_up() { keepalived_checks "$1"; }

die() { "$TOOLS" referee $WEB $rs 0 20 kill "${SERVER[r1]}"; }
undie() { serve r1; }
vanish() { "$TOOLS" referee $WEB $rs 0 20 run ip -n lan link set r1-e down; }
unvanish() { ip -n lan link set r1-e up; }

measure() { # TOOL CHECK FAILURE
  local run ms all=()
  "$1_up" "$2"
  for ((run = 0; run < LAB_RUNS; run++)); do
    any_moment
    read -r ms _ < <("$3")
    all+=("$ms")
    "un$3"
    wait_for "the weight is back" 30 weight_is $WEB $rs 5
  done
  "$1_down"
  ipvsadm -C
  local median longest every; read -r median longest every < <(figures "${all[@]}")
  printf '%-11s %-6s %-20s %6d %6d   %s\n' "$1" "$2" "$4" "$median" "$longest" "$every"
}

echo "a real server fails -> weight 0 in the kernel; ms, $LAB_RUNS runs each; $(keepalived --version 2>&1 | sed -n 1p)"
printf '%-11s %-6s %-20s %6s %6s   %s\n' tool check failure median max all
for check in http tcp; do
  for tool in agent keepalived; do measure $tool $check die "kill -9 of server"; done
done
for tool in agent keepalived; do measure $tool http vanish "host blackholed"; done
# What keepalived, whose timeouts are whole seconds, cannot be asked for. Bound: interval + 2 timeouts + 200 ms = 1800.
pace=$eager
measure agent http vanish "  timeout 0.3 s, 2 x"
