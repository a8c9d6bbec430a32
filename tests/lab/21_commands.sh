# `status` and `probe`, with a running agent and without one.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 2
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6
ipvsadm -A -t $VIP:81 -s rr

step "no agent: the kernel alone, and it says so"
agent_run 0 status
expect_match "status" "$OUT" '10\.10\.0\.100:80/tcp'
expect_match "status" "$OUT" '10\.10\.0\.22:80.* 6'
expect_match "status" "$OUT" 'no agent'
agent_run 69 probe $WEB 10.10.0.21:80
expect_match "probe" "$OUT" '/run/lvs-agent/control\.sock'

step "an agent with both servers up"
default_config
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
agent_run 0 status $WEB
expect_match "status" "$OUT" '10\.10\.0\.21:80.*up'
expect_match "status" "$OUT" '10\.10\.0\.22:80.*up'

step "probe: pass 0, fail 1"
attempts=$(rs_metric lvs_check_attempts_total $WEB 10.10.0.21:80)
agent_run 0 probe $WEB 10.10.0.21:80
expect_match "probe" "$OUT" 'pass'
expect_match "probe names its phases" "$OUT" 'connect'
agent_run 0 probe $WEB 10.10.0.21:80 --check web
crash r1
agent_run 1 probe $WEB 10.10.0.21:80
expect_match "probe" "$OUT" 'connect_refused'
agent_run 69 probe $WEB 10.10.0.29:80
expect_match "a server that is not there" "$OUT" '10\.10\.0\.29:80'

step "status: a drain is shown; 1 where a managed service is not up"
wait_for "r1 is out" 10 weight_is $WEB 10.10.0.21:80 0
agent_run 0 status $WEB
expect_match "status" "$OUT" '10\.10\.0\.21:80.*DOWN'
expect_match "status" "$OUT" 'connect_refused|reset|bad_response' # a probe under way at that moment breaks off
status=0
"$AGENT" status --json >"$T/status.json" || status=$?
expect_eq "its exit status, for the service that has no real server" "$status" 1
json() { "$TOOLS" json "$T/status.json" virtual_servers $WEB "$@"; }
expect_eq "the scheduler in the JSON" "$(json scheduler)" wrr
expect_eq "the owed weight in the JSON" "$(json real_servers 10.10.0.21:80 owed_weight)" 5
expect_eq "who drained it, in the JSON" "$(json real_servers 10.10.0.21:80 drained by)" check
crash r2
wait_for "the service is down" 15 metric_is 0 lvs_virtual_server_up virtual_server=$WEB
agent_run 1 status
expect_match "why it is held" "$OUT" 'held by suspect_self'
agent_run 1 status --agent $URL
expect_match "another director's" "$OUT" '10\.10\.0\.22:80'
agent_stop
agent_run 69 status --agent $URL
