# Mass failure: LAB_SERVICES rr services of 20 real servers each; half of the real servers stop at once, and all of these
# drains are decided in one moment. How long until the last of them is in the kernel: by the agent (decision, ledger,
# batches, writes), and by a bare loop of the same reads, writes and read-backs. In turn, in the same kernel; refuses to
# print a ratio unless all were written.
#
# That one moment: `suspect-self` holds the drains while the 30 targets of another service fail too, and lets them go when
# enough of those pass again. A real server is one target for all its services, as it is in a configuration with one check.
. "$(dirname "$0")/../../tests/lab/lib.sh"
modprobe ip_vs
drains=$((LAB_SERVICES * 10))

hosts() { # NS OCTET COUNT: so many real servers, 10.10.OCTET.1.., behind one HTTP server
  host "$1" "$((20 + $2))"
  local n; for ((n = 1; n <= $3; n++)); do echo "addr add 10.10.$2.$n/32 dev eth0"; done | ip -n "$1" -batch -
  ip route add "10.10.$2.0/24" dev eth0
  serve "$1"
}
hosts r1 1 10
hosts r2 2 10
hosts r3 3 30
{
  for ((s = 0; s < LAB_SERVICES; s++)); do
    service="10.100.$((s / 250)).$((s % 250 + 1)):80"
    echo "-A -t $service -s rr"
    for ((r = 1; r <= 10; r++)); do
      printf '%s\n' "-a -t $service -r 10.10.1.$r:80 -g -w 1" "-a -t $service -r 10.10.2.$r:80 -g -w 1"
    done
  done
  echo "-A -t $VIP:80 -s rr"
  for ((r = 1; r <= 30; r++)); do echo "-a -t $VIP:80 -r 10.10.3.$r:80 -g -w 1"; done
} >"$T/table"
ipvsadm -R <"$T/table"

# A whole read of this table takes this kernel most of a second, and every 2 s it would be a third of what is measured.
agent_config <<END
suspect-self = "60%"
[ipvs]
poll-interval = "30s"
[defaults]
interval = "1s"
timeout = "900ms"
rise = 1
fall = 1
[check.web]
type = "tcp"
[[service]]
match = ["$WEB"]
checks = ["web"]
floor = "100%"
[[service]]
match = ["10.100.0.0/16:80/tcp"]
checks = ["web"]
floor = "50%"
END
agent_start --log.level trace
said() { [ "$(grep -c -- "$2" "$T/agent.log")" -ge "$1" ]; } # TIMES TEXT
forget() { : >"$T/agent.log"; }
wait_for "all are judged up" 60 said $((2 * drains + 30)) 'verdict=up'

bare() { # FROM TO
  kill -STOP "$AGENT_PID"
  "$TOOLS" set-weights 10.10.2. "$1" "$2" "$drains"
  kill -CONT "$AGENT_PID"
}

for ((run = 0; run < LAB_RUNS; run++)); do
  bare 1 0 >>"$T/bare"
  bare 0 1 >/dev/null
  forget
  crash r3
  wait_for "the other service fails" 30 said 30 'verdict=down'
  crash r2
  wait_for "half of the real servers fail" 60 said $((drains + 30)) 'verdict=down'
  wait_for "all drains are held" 60 said "$drains" 'reason=suspect_self'
  forget
  serve r3
  "$TOOLS" drained "$T/agent.log" 10.10.2. "$drains" 60 >>"$T/agent"
  paste -d' ' "$T/bare" "$T/agent" | tail -1
  forget
  serve r2
  wait_for "all are back" 60 said "$drains" 'weight set: restore'
done
[ "$(wc -l <"$T/bare")" = "$LAB_RUNS" ] && [ "$(wc -l <"$T/agent")" = "$LAB_RUNS" ] || fail "a run is missing"

median() { sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
theirs=$(median <"$T/bare") ours=$(cut -d' ' -f2 "$T/agent" | median)
ratios=$(paste -d' ' "$T/bare" "$T/agent" | awk '{ printf "%.2f\n", $3 / $1 }')
echo "$drains drains decided at once, $LAB_SERVICES rr services of 20 real servers, ms until the last is in the kernel, $LAB_RUNS runs"
printf '%-32s %8s   %s\n' '' median all
printf '%-32s %8s   %s\n' "bare loop" "$theirs" "$(tr '\n' ' ' <"$T/bare")"
printf '%-32s %8s   %s\n' "lvs-agent, from the decision" "$ours" "$(cut -d' ' -f2 "$T/agent" | tr '\n' ' ')"
printf '%-32s %8s   %s\n' "ratio, each pair of one run" "$(median <<<"$ratios")" "$(tr '\n' ' ' <<<"$ratios")"
