# More real servers fail in one moment than one cycle writes: the cycles follow one another until all are out, one line
# says that most had to wait, the floor holds, and all come back, with nothing left in the ledger.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
services=60 well=4
sick=36 # in each: more than the 1,000 of one cycle under mh, the dearest scheduler

hosts() { # NS OCTET COUNT: so many real servers, 10.10.OCTET.1.., behind one HTTP server
  host "$1" "$((20 + $2))"
  local n; for ((n = 1; n <= $3; n++)); do echo "addr add 10.10.$2.$n/32 dev eth0"; done | ip -n "$1" -batch -
  ip route add "10.10.$2.0/24" dev eth0
  serve "$1"
}
hosts r1 1 $well
hosts r2 2 $sick
for ((s = 1; s <= services; s++)); do
  echo "-A -t 10.100.0.$s:80 -s mh -b mh-fallback"
  for ((r = 1; r <= well; r++)); do echo "-a -t 10.100.0.$s:80 -r 10.10.1.$r:80 -g -w 3"; done
  for ((r = 1; r <= sick; r++)); do echo "-a -t 10.100.0.$s:80 -r 10.10.2.$r:80 -g -w 3"; done
done | ipvsadm -R
all=$((services * sick)) waiting=$((services * sick - 1000))
before=$(ipvsadm -Sn)

mode() { # observe|enforce: what was held by observe mode is due in one moment
  default_config 'floor = 4'
  sed -i -e "1i mode = \"$1\"" -e 's/^type = .*/type = "tcp"/' -e '/^path = /d' "$T/agent.toml"
}
said() { [ "$(grep -c -- "$2" "$T/agent.log")" -ge "$1" ]; } # TIMES TEXT
times() { grep -c -- "$1" "$T/agent.log" || true; }
reload() { mode "$1"; : >"$T/agent.log"; kill -HUP "$AGENT_PID"; }
drained() { [ "$(awk '$1 == "->" && $4 == 0 { n++ } END { print n + 0 }' /proc/net/ip_vs)" = "$1" ]; }
ledger_is() { [ "$(grep -c '"owed"' "$T/state/ledger.json")" = "$1" ]; }

mode observe
agent_start
wait_for "all are judged up" 30 said $((services * (well + sick))) 'verdict=up'
crash r2
wait_for "all would be drained" 30 said $all 'observes only'

step "all at once"
reload enforce
wait_for "all are out" 30 drained $all
wait_for "none waits any more" 10 said 1 'no weight change waits'
expect_eq "lines that say that some wait" "$(times 'more weight changes are due')" 1
expect_match "how many" "$(grep 'more weight changes are due' "$T/agent.log")" "waiting=$waiting per_cycle=5000"
expect_eq "lines of single holds" "$(times 'reason=rate_limit')" 0
expect_eq "drains in the log" "$(times 'weight set: drain')" $all
expect_eq "holds by the limit" \
  "$("$TOOLS" get $URL/metrics | awk '/^lvs_weight_changes_held_total.*rate_limit/ { n += $NF } END { print n }')" $waiting
expect_eq "held now" "$("$TOOLS" get $URL/metrics | grep -c '^lvs_real_server_change_held' || true)" 0
expect "the ledger has each of them" ledger_is $all

step "all back at once"
reload observe
serve r2
wait_for "all would come back" 30 said $all 'observes only'
reload enforce
wait_for "all are back" 30 table_is "$before"
wait_for "none waits any more" 10 said 1 'no weight change waits'
expect_eq "lines that say that some wait" "$(times 'more weight changes are due')" 1
wait_for "the ledger is empty" 10 ledger_is 0
