# keepalived with checkers of its own, the service in observe: the agent shows what it would do and writes nothing there,
# while it enforces beside it. The configurations are those of docs/operations.md.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 2
{ documented conf static | sed '/^virtual_server/,$d'; documented conf checkers; } | keepalived_conf
keepalived_start
wait_for "keepalived has made the table" 10 weights_are 3 4
OTHER=fwmark:7/ipv4
virtual_server $OTHER wrr 10.10.0.21:80 5 10.10.0.22:80 6
{
  printf '[ipvs]\npoll-interval = "500ms"\n'
  documented toml checkers
  printf '[check.marked]\ntype = "http"\npath = "/"\nport = 80\n[[service]]\nmatch = ["%s"]\nchecks = ["marked"]\n' $OTHER
} | agent_config
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
wait_for "in the other service too" 20 state_is 2 up $OTHER
journal_start
journal() { tail -n +5 "$T/journal" | cut -d' ' -f2- | grep "^$1 " || true; } # after the table as it was
log_count() { grep -Ec -- "$1" "$T/agent.log" || true; }
again() { act "$1" good; ip netns exec "$1" true; serve "$1" "@$T/as/$(rip "$1")"; }

step "a failure that keepalived does not see: shown, held, not written; enforced where it is ours"
act r1 unavailable
wait_for "what it would do" 15 rs_api_is '{"reason":"observe","would":0}' $WEB 10.10.0.21:80 held
wait_for "out of the other service" 15 weight_is $OTHER 10.10.0.21:80 0
further_probes 3 $WEB 10.10.0.21:80
expect "the table" weights_are 3 4
expect_eq "the verdict" "$(rs_api $WEB 10.10.0.21:80 verdict)" down
expect_eq "exported" "$(metric lvs_real_server_change_held virtual_server=$WEB reason=observe)" 1
expect_eq "said once" "$(log_count "INFO would set the weight, but observes only.*$WEB.*10.10.0.21:80")" 1
expect_match "on the terminal" "$(timeout 20 "$AGENT" status 2>&1 || true)" '10\.10\.0\.21:80 .*held by observe, would be 0'
act r1 good
wait_for "nothing is held" 15 rs_api_is null $WEB 10.10.0.21:80 held

step "with inhibit_on_failure keepalived's drain is an external 0"
crash r1
wait_for "keepalived drains it" 15 weights_are 0 4
wait_for "whose it is" 15 rs_api_is external $WEB 10.10.0.21:80 drained by
again r1
wait_for "keepalived gives it back" 15 weights_are 3 4

step "without it the real server goes, and comes back as a new one"
crash r2
wait_for "keepalived deletes it" 15 weights_are 3 absent
wait_for "it has no row" 15 metric_is absent lvs_real_server_up virtual_server=$WEB real_server=10.10.0.22:80
again r2
wait_for "keepalived adds it" 15 weights_are 3 4
wait_for "it is judged anew" 15 rs_metric_is 1 lvs_real_server_up $WEB 10.10.0.22:80

step "keepalived's reload, and nothing of all this was the agent's"
keepalived_reload
further_probes 2 $WEB 10.10.0.21:80
expect_eq "the changes of the observed service" "$(journal $WEB)" "$WEB 10.10.0.21:80 0
$WEB 10.10.0.21:80 3
$WEB 10.10.0.22:80 gone
$WEB 10.10.0.22:80 4"
expect_eq "the agent's weights there" "$(log_count "weight set.*$WEB")" 0
expect_eq "counted" "$(metric lvs_weight_changes_total virtual_server=$WEB direction=drain)" 0
wait_for "the other service is whole" 15 weight_is $OTHER 10.10.0.22:80 6
wait_for "nothing is on record" 15 metric_is 0 lvs_agent_ledger_entries
agent_run 1 drain 10.10.0.21 --virtual-server $WEB
expect_match "nor by hand" "$OUT" 'observe'
agent_stop
