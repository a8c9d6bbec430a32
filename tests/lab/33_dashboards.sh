# Every query of the dashboards has an answer in a real Prometheus that scrapes a real agent on a real table, and soon; the
# alerts that they show are the shipped ones.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 5
DASHBOARDS=$(dirname "$0")/../../dashboards
PROMETHEUS=http://127.0.0.1:9090
dead=$VIP:8080/tcp # nobody listens there: the floor keeps its servers in

# One real server masquerades, one has a threshold, and clients persist.
ipvsadm -R <<END
-A -t $VIP:80 -s wrr -p 300
-a -t $VIP:80 -r 10.10.0.21:80 -m -w 5 -x 1000 -y 900
-a -t $VIP:80 -r 10.10.0.22:80 -g -w 5
-a -t $VIP:80 -r 10.10.0.23:80 -g -w 5
-a -t $VIP:80 -r 10.10.0.24:80 -g -w 5
-a -t $VIP:80 -r 10.10.0.25:80 -g -w 5
END
virtual_server $dead rr 10.10.0.21:8080 1
ipvsadm --start-daemon master --mcast-interface eth0 --syncid 7

cat >"$T/prometheus.yml" <<END
global: {scrape_interval: 1s, evaluation_interval: 5s}
rule_files: [$(realpath "$DASHBOARDS/../alerts")/*.yml]
scrape_configs:
  - job_name: lvs-agent
    static_configs: [{targets: ["127.0.0.1:10190"]}]
END
default_config
defaults 'tripwire = true'
agent_start
wait_for "they are judged up" 20 state_is 5 up $WEB
prometheus --config.file="$T/prometheus.yml" --storage.tsdb.path="$T/tsdb" --web.listen-address=127.0.0.1:9090 \
  >"$T/prometheus.log" 2>&1 &
query_has() { # QUERY TEXT
  curl -s --get --data-urlencode "query=$1" $PROMETHEUS/api/v1/query | grep -qF "$2"
}
wait_for "it has scraped" 40 query_has 'lvs_virtual_server_up == 1' "$WEB"

load_start
step "one is drained by hand, one flaps and dies, the address moves, the configuration is read again"
agent_run 0 drain 10.10.0.24 --force
for time in 1 2 3; do
  act r1 unavailable
  wait_for "it is out, the $time. time" 20 weights_are 0 5 5 0 5
  act r1 good
  wait_for "it is back, the $time. time" 20 weights_are 5 5 5 0 5
done
crash r1
wait_for "it is out" 20 weights_are 0 5 5 0 5
wait_for "it flaps" 20 query_has 'lvs_real_server_flapping == 1' 10.10.0.21:80
ip addr del $VIP/32 dev eth0
wait_for "the address is gone" 20 query_has 'lvs_vip_present == 0' $VIP
ip addr add $VIP/32 dev eth0
wait_for "its moves are counted" 20 query_has 'increase(lvs_vip_transitions_total[1m]) > 0' $VIP
sed -i 's/^timeout = .*/timeout = "800ms"/' "$T/agent.toml"
kill -HUP $AGENT_PID
wait_for "it was read again" 20 query_has 'changes(lvs_agent_config_last_reload_success_timestamp_seconds[1m]) > 0' '"value"'
wait_for "the drain was counted" 20 query_has 'increase(lvs_weight_changes_total{direction="drain"}[1m]) > 0' '"value"'
wait_for "the flapping is an alert" 60 query_has 'ALERTS{alertstate="firing", alertname="IpvsRealServerFlapping"}' $WEB
wait_for "the dead one is a page" 60 query_has 'ALERTS{alertstate="firing", alertname="IpvsVirtualServerDown"}' $dead
wait_for "clients are counted" 60 query_has 'sum(rate(ipvs_real_server_connections_total[1m])) > 0' '"value"'

step "every query"
"$TOOLS" dashboards $PROMETHEUS "$DASHBOARDS" $WEB 10.10.0.21:80 >"$T/queries.log"
load_stop
sort -rn "$T/queries.log" | sed -n 1,5p

# There is one director, its kernel is well, it has not been started again, it is a minute old, and no check
# speaks TLS; every tripwire can be held.
may_be_empty() { # WHICH
  case $1 in
    *"Where the directors disagree"*) ;;
    *"Starts of the agent"*) ;;
    *"weeks before B" | *"weeks before C" | *"weeks before D") ;;
    *"Growth "*) ;;
    *": Certificates that end first A") ;;
    "lvs-checks: Tripwires C") ;;
    "lvs-director: Failed requests A") ;;
    "lvs-director: Probes not started A") ;;
    *"could not be carried out A") ;;
    *) return 1 ;;
  esac
}
asked=0 empty=()
while read -r ms rows which; do
  asked=$((asked + 1))
  [ "$rows" != 0 ] || may_be_empty "$which" || empty+=("$which")
  [ "$ms" -lt 5000 ] || fail "$ms ms: $which"
done <"$T/queries.log"
expect_eq "queries without data" "$(printf '%s\n' "${empty[@]}")" ""
expect "more than 200 queries, not $asked" [ $asked -gt 200 ]
agent_stop
