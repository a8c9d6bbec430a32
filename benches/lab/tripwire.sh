# A server process is killed under load, one of three, direct routing: how long until its weight is 0, and how many requests fail:
# lvs-agent with a tripwire (interval 2 s, fall 3) and keepalived (delay_loop 1, retry 0), the same http check, each
# alone on the director. The client opens a new connection for each request, the next one 10 ms after the last.
. "$(dirname "$0")/../../tests/lab/lib.sh"
modprobe ip_vs
cluster 3
rs=10.10.0.21:80

agent_up() {
  virtual_server $WEB rr 10.10.0.21:80 5 10.10.0.22:80 5 10.10.0.23:80 5
  agent_config <<END
[defaults]
interval = "2s"
timeout = "1s"
fall = 3
tripwire = true
[check.web]
type = "http"
[[service]]
match = ["$WEB"]
checks = ["web"]
END
  agent_start
  wait_for "all are judged up" 20 state_is 3 up $WEB
}
agent_ready() { rs_metric_is 1 lvs_check_tripwire_armed $WEB $rs; }
agent_down() { agent_stop; }

keepalived_up() {
  local n
  {
    printf '%s\n' "virtual_server $VIP 80 {" "delay_loop 1" "lvs_sched rr" "lvs_method DR" "protocol TCP"
    for n in 1 2 3; do
      printf '%s\n' "real_server 10.10.0.2$n 80 {" "weight 5" "inhibit_on_failure"
      printf '%s\n' "HTTP_GET {" "url {" "path /" "status_code 200" "}" "connect_timeout 1" "retry 0" "}" "}"
    done
    echo "}"
  } >"$T/keepalived.conf"
  keepalived --dont-fork --log-console --check -f "$T/keepalived.conf" -p "$T/keepalived.pid" >"$T/keepalived.log" 2>&1 &
  KEEPALIVED=$!
  wait_for "keepalived has made the table" 20 weight_is $WEB $rs 5
}
keepalived_ready() { weight_is $WEB $rs 5; }
keepalived_down() {
  kill "$KEEPALIVED"
  wait "$KEEPALIVED" || true
}

measure() { # TOOL
  local run ms all=() failed asked
  "$1_up"
  load_start
  wait_for "20 requests" 20 requests_reach 20
  for ((run = 0; run < LAB_RUNS; run++)); do
    # The moment of a crash must not follow from the recovery before it.
    let_pass "$((RANDOM % 2)).$((RANDOM % 9000 + 1000))"
    read -r ms _ < <("$TOOLS" referee $WEB $rs 0 20 kill "${SERVER[r1]}")
    all+=("$ms")
    wait_for "30 further requests" 30 requests_reach $(($(requests) + 30))
    serve r1
    wait_for "the weight is back" 30 weight_is $WEB $rs 5
    wait_for "all is as before" 60 "$1_ready"
  done
  load_stop
  "$1_down"
  ipvsadm -C
  failed=$(grep -vc ' ok ' "$T/load" || true) asked=$(requests)
  local sorted; mapfile -t sorted < <(printf '%s\n' "${all[@]}" | sort -n)
  local n=${#sorted[@]}
  printf '%-11s %6d %6d %9d %7d   %s\n' "$1" $(((sorted[(n - 1) / 2] + sorted[n / 2]) / 2)) "${sorted[n - 1]}" "$asked" "$failed" "${sorted[*]}"
}

echo "a server process is killed under load, $LAB_RUNS times; ms until its weight is 0; $(keepalived --version 2>&1 | sed -n 1p)"
printf '%-11s %6s %6s %9s %7s   %s\n' tool median max requests failed all
for tool in agent keepalived; do measure $tool; done
