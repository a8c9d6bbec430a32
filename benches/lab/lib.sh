# What the comparisons with keepalived share: three real servers, and each tool alone on the director.
. "$(dirname "$0")/../../tests/lab/lib.sh"
modprobe ip_vs
cluster 3
rs=10.10.0.21:80

agent_checks() { # by the configuration that is written
  virtual_server $WEB rr 10.10.0.21:80 5 10.10.0.22:80 5 10.10.0.23:80 5
  agent_start
  wait_for "all are judged up" 20 state_is 3 up $WEB
}

keepalived_checks() { # tcp|http: it makes the table too; delay_loop 1, retry 0, inhibit_on_failure
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

agent_down() { agent_stop; }

keepalived_down() {
  kill "$KEEPALIVED"
  wait "$KEEPALIVED" || true
}

# The moment of a failure must not follow from the recovery before it.
any_moment() { let_pass "$((RANDOM % 2)).$((RANDOM % 9000 + 1000))"; }
