# How long until a failed real server has weight 0: lvs-agent (interval 1 s, fall 1) and keepalived (delay_loop 1,
# retry 0, inhibit_on_failure), the same check of the same three servers, each alone on the director.
. "$(dirname "$0")/../../tests/lab/lib.sh"
modprobe ip_vs
cluster 3
rs=10.10.0.21:80

agent_up() { # KIND
  virtual_server $WEB rr 10.10.0.21:80 5 10.10.0.22:80 5 10.10.0.23:80 5
  agent_config <<END
[defaults]
interval = "1s"
timeout = "1s"
rise = 1
fall = 1
[check.web]
type = "$1"
[[service]]
match = ["$WEB"]
checks = ["web"]
END
  agent_start
  wait_for "all are judged up" 20 state_is 3 up $WEB
}

agent_down() { agent_stop; }

keepalived_up() { # KIND
  local n
  {
    printf '%s\n' "virtual_server $VIP 80 {" "delay_loop 1" "lvs_sched rr" "lvs_method DR" "protocol TCP"
    for n in 1 2 3; do
      printf '%s\n' "real_server 10.10.0.2$n 80 {" "weight 5" "inhibit_on_failure"
      if [ "$1" = tcp ]; then
        printf '%s\n' "TCP_CHECK {"
      else
        printf '%s\n' "HTTP_GET {" "url {" "path /" "status_code 200" "}"
      fi
      printf '%s\n' "connect_timeout 1" "retry 0" "}" "}"
    done
    echo "}"
  } >"$T/keepalived.conf"
  keepalived --dont-fork --log-console --check -f "$T/keepalived.conf" -p "$T/keepalived.pid" >"$T/keepalived.log" 2>&1 &
  KEEPALIVED=$!
  wait_for "keepalived has made the table" 20 weight_is $WEB $rs 5
}

keepalived_down() {
  kill "$KEEPALIVED"
  wait "$KEEPALIVED" || true
}

# The moment of a failure must not follow from the recovery before it.
any_moment() { let_pass "$((RANDOM % 2)).$((RANDOM % 9000 + 1000))"; }

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
  local sorted; mapfile -t sorted < <(printf '%s\n' "${all[@]}" | sort -n)
  local n=${#sorted[@]}
  local median=$(((sorted[(n - 1) / 2] + sorted[n / 2]) / 2))
  printf '%-11s %-6s %-20s %6d %6d   %s\n' "$1" "$2" "$4" "$median" "${sorted[n - 1]}" "${sorted[*]}"
}

echo "a real server fails -> weight 0 in the kernel; ms, $LAB_RUNS runs each; $(keepalived --version 2>&1 | sed -n 1p)"
printf '%-11s %-6s %-20s %6s %6s   %s\n' tool check failure median max all
for check in http tcp; do
  for tool in agent keepalived; do measure $tool $check die "kill -9 of server"; done
done
for tool in agent keepalived; do measure $tool http vanish "host blackholed"; done
