# A weight climbs back in steps that survive a kill -9; rr has none; a hold-down is waited for, and undrain waits for nothing.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 2
round_robin=$VIP:8080/tcp
virtual_server $WEB wrr 10.10.0.21:80 10 10.10.0.22:80 10
virtual_server $round_robin rr 10.10.0.21:8080 10 10.10.0.22:8080 10
climbs='slow-start = "9s"'

configured() { # SERVICE_LINES, with a check that asks the same port for both services
  quick_config
  sed -i 's/^type = "http"/&\nport = 80/' "$T/agent.toml"
  echo "$1" >>"$T/agent.toml"
}
steps() { # the weights that r1 of $WEB had, in order, since the journal began, from its drain on
  awk '$2 == "'$WEB'" && $3 == "10.10.0.21:80" && $4 != last { last = $4; printf "%s%s", sep, $4; sep = " " }' "$T/journal"
}
only_climbs() { # N: every weight after a 0 is above the one before it, the first is 1, and N times it came to 10
  steps | tr ' ' '\n' | awk -v want="$1" '
    NR == 1 || $1 == 0 { last = $1; next }
    $1 <= last || (last == 0 && $1 != 1) { bad = 1 }
    { between += $1 < 10; ends += $1 == 10; last = $1 }
    END { exit bad || ends != want || between < 3 * want }'
}
climbed_to() { [ "$(weight $WEB 10.10.0.21:80)" -ge "$1" ]; }
ledger_is_empty() { metric_is 0 lvs_agent_ledger_entries; }

step "r1's process is killed, and comes back: a tenth first, then step by step"
configured "$climbs"
agent_start
wait_for "both are judged up" 20 state_is 2 up $WEB
journal_start
crash r1
wait_for "r1 is out" 15 weight_is $WEB 10.10.0.21:80 0
wait_for "r1 is out of the other service" 15 weight_is $round_robin 10.10.0.21:8080 0
serve r1 "@$T/as/10.10.0.21"
wait_for "r1 is in with a part of its weight" 15 climbed_to 1
wait_for "rr knows no ramp" 10 weight_is $round_robin 10.10.0.21:8080 10
wait_for "the metric says why it has not all" 10 rs_metric_is 1 lvs_real_server_drained $WEB 10.10.0.21:80 reason=slow_start
expect_eq "ten steps, in the API" "$(rs_api $WEB 10.10.0.21:80 slow_start of)" 10
expect_eq "and it is not drained" "$(rs_api $WEB 10.10.0.21:80 drained)" null
expect_eq "what it is owed" "$(rs_metric lvs_real_server_owed_weight $WEB 10.10.0.21:80)" 10
wait_for "r1 has all of it" 30 weight_is $WEB 10.10.0.21:80 10
expect "it only climbed: $(steps)" only_climbs 1
wait_for "the ledger is empty" 10 ledger_is_empty
expect_eq "no row is left" "$(rs_metric lvs_real_server_drained $WEB 10.10.0.21:80 reason=slow_start)" absent
expect "steps are counted as adjust" metric_above 2 lvs_weight_changes_total virtual_server=$WEB direction=adjust

step "kill -9 in the middle: the next agent goes on from the step it finds"
act r1 unavailable
wait_for "r1 is out" 15 weight_is $WEB 10.10.0.21:80 0
act r1 good
wait_for "r1 has climbed to 3" 20 climbed_to 3
agent_kill9
found=$(weight $WEB 10.10.0.21:80)
expect "it is on its ramp: $found" [ "$found" -lt 10 ]
expect "the ledger knows what is owed" grep -q '"owed": 10' "$T/state/ledger.json"
agent_start
expect "nothing was lost at the start" climbed_to "$found"
wait_for "r1 has all of it" 30 weight_is $WEB 10.10.0.21:80 10
wait_for "the ledger is empty" 10 ledger_is_empty
expect "it only climbed: $(steps)" only_climbs 2

step "failing on its ramp it goes out from its step; the next agent finds what is owed"
act r1 unavailable
wait_for "r1 is out" 15 weight_is $WEB 10.10.0.21:80 0
act r1 good
wait_for "r1 has climbed to 2" 20 climbed_to 2
act r1 unavailable
wait_for "r1 is out again" 15 weight_is $WEB 10.10.0.21:80 0
agent_kill9
expect "the ledger knows what is owed" grep -q '"owed": 10' "$T/state/ledger.json"

step "a hold-down is shown with its end; undrain waits neither for it nor for a ramp"
configured 'hold-down = "1h"
slow-start = "9s"'
agent_start
wait_for "r1 is judged down" 20 state_is 1 down $WEB
act r1 good
held() { rs_api_is "hold_down" $WEB 10.10.0.21:80 held reason; }
wait_for "r1 is up, and held down" 20 held
expect_eq "its verdict" "$(rs_metric lvs_real_server_up $WEB 10.10.0.21:80)" 1
expect_eq "it would get the first step" "$(rs_api $WEB 10.10.0.21:80 held would)" 1
expect_match "its end" "$(rs_api $WEB 10.10.0.21:80 held ends_in_seconds)" '^35[0-9][0-9]'
expect_eq "the metric" "$(rs_metric lvs_real_server_change_held $WEB 10.10.0.21:80 reason=hold_down)" 1
expect_eq "r1's weight" "$(weight $WEB 10.10.0.21:80)" 0
agent_run 0 undrain 10.10.0.21
wait_for "r1 has all of its weight" 10 weight_is $WEB 10.10.0.21:80 10
wait_for "and in the other service" 10 weight_is $round_robin 10.10.0.21:8080 10
wait_for "the ledger is empty" 10 ledger_is_empty
agent_stop
