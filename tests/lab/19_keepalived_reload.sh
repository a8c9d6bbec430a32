# keepalived without checkers reloads while drains of ours are in force: by checks (r1, r3) and by hand (r2, r4), without
# inhibit_on_failure (r1, r2) and with it (r3, r4). What docs/operations.md says of it, line by line.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 5
conf() { # WEIGHT...: of r1 to r5
  local n=0 weight inhibit
  documented conf static | sed '/^  real_server/,$d'
  for weight in "$@"; do
    n=$((n + 1)) inhibit=
    case $n in 3 | 4) inhibit=inhibit_on_failure ;; esac
    printf '  real_server 10.10.0.2%s 80 {\n    weight %s\n    %s\n  }\n' $n "$weight" "$inhibit"
  done
  echo '}'
}
conf 3 4 5 6 9 | keepalived_conf
keepalived_start
wait_for "keepalived has made the table" 10 weights_are 3 4 5 6 9
documented toml static | sed '1i [ipvs]\npoll-interval = "500ms"' | agent_config
agent_start
wait_for "all are judged up" 20 state_is 5 up $WEB
journal() { tail -n +6 "$T/journal" | cut -d' ' -f3- | { grep "^10.10.0.2$1:80 " || true; } | cut -d' ' -f2 | xargs; } # after the table as it was
log_count() { grep -Ec -- "$1" "$T/agent.log" || true; }

step "r1 and r3 are out by their checks, r2 and r4 by hand"
act r1 unavailable
act r3 unavailable
wait_for "out by checks" 20 weights_are 0 4 0 6 9
agent_run 0 drain 10.10.0.22
agent_run 0 drain 10.10.0.24
wait_for "out by hand" 10 weights_are 0 0 0 0 9
journal_start

step "a reload that says nothing new about them leaves all four out"
conf 3 4 5 6 8 | keepalived_conf
keepalived_reload
wait_for "r5 has its new weight" 10 weights_are 0 0 0 0 8
further_probes 3 $WEB 10.10.0.21:80
expect "the table" weights_are 0 0 0 0 8
expect_eq "nobody wrote to the four" "$(journal '[1-4]')" ""

step "another weight: owed from now on, and out again: by hand at once, by checks after a fresh run of failures"
conf 13 14 15 16 8 | keepalived_conf
keepalived_reload
wait_for "all four are out again" 20 weights_are 0 0 0 0 8
for n in 1 2 3 4; do
  expect_eq "the changes of r$n" "$(journal $n)" "1$((n + 2)) 0"
  wait_for "what is owed to r$n" 10 rs_metric_is 1$((n + 2)) lvs_real_server_owed_weight $WEB 10.10.0.2$n:80
done
expect_eq "said of each, once" "$(log_count 'somebody else changed the weight')" 4
expect_eq "counted" "$(metric lvs_drift_detected_total kind=weight)" 4
expect_eq "r2 is out by hand still" "$(rs_api $WEB 10.10.0.22:80 drained by)" operator
expect_eq "r1 by its checks" "$(rs_api $WEB 10.10.0.21:80 drained by)" check

step "once more within the window: yielded to, and the drains by hand have ended"
conf 23 24 25 26 8 | keepalived_conf
keepalived_reload
for n in 1 3; do
  wait_for "r$n is held" 15 rs_api_is '{"reason":"tug_of_war","would":0}' $WEB 10.10.0.2$n:80 held
done
further_probes 4 $WEB 10.10.0.21:80
expect "the table" weights_are 23 24 25 26 8
for n in 1 2 3 4; do expect_eq "the changes of r$n" "$(journal $n)" "1$((n + 2)) 0 2$((n + 2))"; done
expect_eq "said of the drains by hand" "$(log_count 'WARN.*somebody raised the weight over a drain by hand for the second time: the drain has ended')" 2
expect_eq "held, said once each" "$(log_count 'WARN a weight change is held.*reason=tug_of_war.*from=2[35]')" 2
for n in 1 3; do
  expect_eq "r$n, exported" "$(rs_metric lvs_real_server_change_held $WEB 10.10.0.2$n:80 reason=tug_of_war)" 1
done
agent_run 1 undrain 10.10.0.22
expect_match "nothing is left of it" "$OUT" 'is not drained by hand'
expect_eq "nor on record" "$(metric lvs_agent_ledger_entries)" 0

step "the verdict changes: the weights of the last reload are the owed ones"
act r1 good
act r3 good
wait_for "nothing is held" 15 metric_is absent lvs_real_server_change_held reason=tug_of_war
act r1 unavailable
wait_for "r1 is out again" 15 weights_are 0 24 25 26 8
act r1 good
wait_for "and back with what is owed" 15 weights_are 23 24 25 26 8
agent_stop
