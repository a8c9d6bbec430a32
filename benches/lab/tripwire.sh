# A server process is killed under load, one of three, direct routing: how long until its weight is 0, and how many requests fail:
# lvs-agent with a tripwire (interval 2 s, fall 3) and keepalived (delay_loop 1, retry 0), the same http check, each
# alone on the director. The client opens a new connection for each request, the next one 10 ms after the last.
. "$(dirname "$0")/lib.sh"

agent_up() {
  default_config
  defaults 'interval = "2s"' 'timeout = "1s"' 'rise = 2' 'fall = 3' 'tripwire = true'
  agent_checks
}
agent_ready() { rs_metric_is 1 lvs_check_tripwire_armed $WEB $rs; }

keepalived_up() { keepalived_checks http; }
keepalived_ready() { weight_is $WEB $rs 5; }

measure() { # TOOL
  local run ms all=() failed asked
  "$1_up"
  load_start
  wait_for "20 requests" 20 requests_reach 20
  for ((run = 0; run < LAB_RUNS; run++)); do
    any_moment
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
  local median longest every; read -r median longest every < <(figures "${all[@]}")
  printf '%-11s %6d %6d %9d %7d   %s\n' "$1" "$median" "$longest" "$asked" "$failed" "$every"
}

echo "a server process is killed under load, $LAB_RUNS times; ms until its weight is 0; $(keepalived --version 2>&1 | sed -n 1p)"
printf '%-11s %6s %6s %9s %7s   %s\n' tool median max requests failed all
for tool in agent keepalived; do measure $tool; done
