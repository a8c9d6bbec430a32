# The exposition follows the table, two scrapers cost one dump, and Prometheus's own tools accept it.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
second=$VIP:8080/tcp
virtual_server $WEB wrr 10.10.0.21:80 1 10.10.0.22:80 2
virtual_server $second rr 10.10.0.21:8080 1

step "exporter only: no configuration, the table is read when scraped"
agent_start
expect_eq "ipvs_up" "$(metric ipvs_up)" 1
expect_eq "real servers" "$(metric ipvs_virtual_server_real_servers virtual_server=$WEB)" 2
expect_eq "no verdict" "$(rs_metric lvs_real_server_up $WEB 10.10.0.21:80)" absent
dumps() { metric lvs_agent_netlink_requests_total command=get_service; }

step "two scrapes at once are one dump"
before=$(dumps)
let_pass 7 # the snapshot's maximum age of 2 s, several times over: nobody else reads the table either
for n in 1 2; do "$TOOLS" get $URL/metrics >"$T/scrape$n" & pids[n]=$!; done
wait "${pids[1]}" "${pids[2]}"
for n in 1 2; do
  expect "scrape $n counts one dump more than $before" \
    grep -qx "lvs_agent_netlink_requests_total{command=\"get_service\"} $((before + 1))" "$T/scrape$n"
done

step "counters are the kernel's"
for _ in 1 2 3; do in_ns client curl -sm 5 http://$VIP/ >"$T/tmp/body"; done
counted() { # the kernel refreshes its counters every 2 s
  local a b
  a=$(rs_metric ipvs_real_server_connections_total $WEB 10.10.0.21:80)
  b=$(rs_metric ipvs_real_server_connections_total $WEB 10.10.0.22:80)
  [ $((a + b)) = 3 ]
}
wait_for "3 connections" 15 counted
expect_eq "of the service" "$(metric ipvs_virtual_server_connections_total virtual_server=$WEB)" 3

step "a removed real server's series vanish, and so do a removed service's"
named() { "$TOOLS" get $URL/metrics | grep -cF "$1" || true; }
named_is() { [ "$(named "$2")" "$1" 0 ]; }
expect "series of both servers" named_is -gt 10.10.0.22:80
ipvsadm -d -t $VIP:80 -r 10.10.0.22:80
wait_for "no series names 10.10.0.22:80" 15 named_is = 10.10.0.22:80
expect_eq "the other stays" "$(rs_metric ipvs_real_server_weight $WEB 10.10.0.21:80)" 1
ipvsadm -D -t $VIP:8080
wait_for "no series names $second" 15 named_is = $second
virtual_server $second rr 10.10.0.21:8080 1
ipvsadm -a -t $VIP:80 -r 10.10.0.22:80 -g -w 2
wait_for "both are back" 15 rs_metric_is 2 ipvs_real_server_weight $WEB 10.10.0.22:80
wait_for "both are back" 15 rs_metric_is 1 ipvs_real_server_weight $second 10.10.0.21:8080
agent_stop

step "with a configuration: the same for verdicts"
default_config
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
ipvsadm -d -t $VIP:80 -r 10.10.0.22:80
wait_for "no series names 10.10.0.22:80" 15 named_is = 10.10.0.22:80
ipvsadm -a -t $VIP:80 -r 10.10.0.22:80 -g -w 2
wait_for "it is judged again" 15 rs_metric_is 1 lvs_real_server_up $WEB 10.10.0.22:80

step "promtool finds nothing to say"
"$TOOLS" get $URL/metrics >"$T/metrics"
promtool check metrics <"$T/metrics" >"$T/promtool.log" 2>&1 || fail "promtool check metrics"
expect_eq "promtool" "$(<"$T/promtool.log")" ""
expect_eq "duplicates" "$(grep -v '^#' "$T/metrics" | sed 's/ [^ ]*$//' | sort | uniq -d)" ""
expect_eq "the end of OpenMetrics" "$("$TOOLS" get $URL/metrics application/openmetrics-text | tail -n 1)" "# EOF"

step "a real Prometheus scrapes it"
cat >"$T/prometheus.yml" <<END
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: lvs-agent
    static_configs: [{targets: ["127.0.0.1:10190"]}]
END
prometheus --config.file="$T/prometheus.yml" --storage.tsdb.path="$T/tsdb" --web.listen-address=127.0.0.1:9090 \
  >"$T/prometheus.log" 2>&1 &
query() { curl -s --get --data-urlencode "query=$1" http://127.0.0.1:9090/api/v1/query; }
query_has() { grep -qF "$2" <<<"$(query "$1")"; }
wait_for "the target is up" 40 query_has 'up{job="lvs-agent"} == 1' '"instance":"127.0.0.1:10190"'
wait_for "a weight is stored" 20 query_has "ipvs_real_server_weight{real_server=\"10.10.0.22:80\"}" ',"2"]'
wait_for "a counter is stored" 20 query_has "lvs_check_attempts_total{real_server=\"10.10.0.22:80\"} > 0" '"__name__"'
agent_stop
