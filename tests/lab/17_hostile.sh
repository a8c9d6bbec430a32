# Real servers that answer without end, with rubbish, or not at all: failed probes within their deadline, and memory that
# stays bounded.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 6
virtual_server $WEB rr 10.10.0.21:80 1 10.10.0.22:80 1 10.10.0.23:80 1 10.10.0.24:80 1 10.10.0.25:80 1 10.10.0.26:80 1
default_config '' "\"$WEB\"" 'body-contains = "r"'
agent_start
wait_for "all six are judged up" 20 state_is 6 up $WEB
rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$AGENT_PID/status"; }
before=$(rss_kb)

step "five turn hostile; the sixth stays good"
hostile() { # HOST BEHAVIOUR
  crash "$1"
  serve "$1" "$2"
}
hostile r1 endless-body
hostile r2 endless-headers
hostile r3 garbage
hostile r4 silent
hostile r5 drip
for n in 1 2 3 4 5; do
  wait_for "r$n is out" 20 weight_is $WEB 10.10.0.2$n:80 0
done
for n in 1 2 3 4 5 6; do further_probes 4 $WEB 10.10.0.2$n:80; done
after=$(rss_kb)

step "each failed for its reason"
failures() { rs_metric lvs_check_failures_total $WEB "10.10.0.2$1:80" reason="$2"; }
at_least() { [ "$2" != absent ] && [ "$2" -ge "$1" ]; }
expect "endless body" at_least 3 "$(failures 1 bad_body)"
expect "endless headers" at_least 3 "$(failures 2 bad_response)"
expect "garbage" at_least 3 "$(failures 3 bad_response)"
expect "silence" at_least 3 "$(failures 4 response_timeout)"
expect "a drip" at_least 3 "$(failures 5 response_timeout)"
expect_eq "the good one's failures" "$(rs_metric lvs_check_failures_total $WEB 10.10.0.26:80)" absent
expect_eq "the good one's weight" "$(weight $WEB 10.10.0.26:80)" 1
expect "memory grew from $before KiB to $after KiB, by less than 8 MiB" test $((after - before)) -lt 8192

step "they mend"
for n in 1 2 3 4 5; do hostile r$n good; done
for n in 1 2 3 4 5; do wait_for "r$n is back" 20 weight_is $WEB 10.10.0.2$n:80 1; done
agent_stop
