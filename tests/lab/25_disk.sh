# The state directory's disk is full, turns read-only, or belongs to somebody else, or the ledger is of a newer version: no
# weight is taken, everybody is told, everything else goes on, what is owed is still given back, and once it can write
# again it goes on by itself. The agent as an ordinary user with CAP_NET_ADMIN, as its unit runs it, among it.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 3
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6 10.10.0.23:80 7
quick_config
state=$T/state
mkdir -m 700 "$state"
mount -t tmpfs -o size=64k,mode=700 small "$state"

held() { # RS ERROR: its drain waits for the ledger
  wait_for "the drain of $1 is held" 15 rs_api_is ledger_unsaved $WEB "$1" held reason
  expect_eq "the metric" "$(rs_metric lvs_real_server_change_held $WEB "$1" reason=ledger_unsaved)" 1
  expect_match "status" "$("$AGENT" status 2>&1 || true)" "LEDGER.*$state.*$2"
  expect_match "the log" "$(<"$T/agent.log")" "ERROR.*$state.*$2"
  further_probes 2 $WEB "$1"
  expect_eq "ipvs_up" "$(metric ipvs_up)" 1
}
write_failures() { metric lvs_agent_ledger_write_failures_total; }

agent_start
wait_for "all are judged up" 20 state_is 3 up $WEB
act r1 unavailable
wait_for "r1 is out" 10 weights_are 0 6 7

step "the disk is full"
head -c 1M /dev/zero >"$state/filler" 2>"$T/tmp/full" && fail "64 KiB hold 1 MiB"
act r2 unavailable
held 10.10.0.22:80 "No space left"
failures=$(write_failures)
wait_for "it tries again and again" 15 metric_above "$failures" lvs_agent_ledger_write_failures_total
expect "no weight is taken" weights_are 0 6 7
act r1 good
wait_for "what is owed is given back all the same" 10 weights_are 5 6 7
expect_eq "files left half written" "$(ls -A "$state")" "filler
ledger.json
lock"
rm "$state/filler"
wait_for "there is room again: r2 is out" 15 weights_are 5 0 7
expect_match "the log" "$(<"$T/agent.log")" "the ledger is saved again"
act r2 good
wait_for "r2 is back" 15 weights_are 5 6 7

step "the disk turns read-only"
: >"$T/agent.log"
failures=$(write_failures)
mount --bind "$state" "$state"
mount -o remount,bind,ro "$state"
act r1 unavailable
held 10.10.0.21:80 "Read-only file system"
expect "failures are counted" [ "$(write_failures)" -gt "$failures" ]
expect "no weight is taken" weights_are 5 6 7
umount "$state"
wait_for "it can write again: r1 is out" 15 weights_are 0 6 7

step "as an ordinary user with CAP_NET_ADMIN, it goes on where root was"
agent_stop
nobody=65534
chown -R $nobody "$state" /run/lvs-agent
install -m 755 "$AGENT" "$T/binary"
AGENT=$T/unprivileged
cat >"$AGENT" <<END
#!/bin/sh
exec setpriv --reuid=$nobody --regid=$nobody --clear-groups --bounding-set=-all,+net_admin \\
  --inh-caps=-all,+net_admin --ambient-caps=-all,+net_admin "$T/binary" "\$@"
END
chmod +x "$AGENT"
act r1 good
agent_start
wait_for "r1 is back" 15 weights_are 5 6 7
expect_match "whose it is" "$(</proc/$AGENT_PID/status)" "Uid:\s+$nobody\s+$nobody"
act r1 unavailable
wait_for "r1 is out" 15 weights_are 0 6 7

step "while it runs, its directory becomes somebody else's"
: >"$T/agent.log"
chown 0 "$state"
act r2 unavailable
held 10.10.0.22:80 "Permission denied"
expect "failures are counted" [ "$(write_failures)" -gt 0 ]
act r1 good
wait_for "what is owed is given back all the same" 10 weights_are 5 6 7
chown $nobody "$state"
wait_for "it may write again: r2 is out" 15 weights_are 5 0 7
act r2 good
wait_for "r2 is back" 15 weights_are 5 6 7
agent_stop

step "it is somebody else's from the start: the agent judges and exports, and takes nothing until it may write there"
chown 0 "$state"
: >"$T/agent.log"
act r1 unavailable
agent_start
held 10.10.0.21:80 "Permission denied.*tried again"
expect "no weight is taken" weights_are 5 6 7
chown $nobody "$state"
wait_for "it may: r1 is out" 15 weights_are 0 6 7
expect "and it holds the directory" test -s "$state/lock"
act r1 good
wait_for "r1 is back" 15 weights_are 5 6 7
agent_stop
act r1 unavailable

step "a ledger of a newer version is left as it is"
printf '{"format": 999, "entries": {}}\n' | tee "$T/newer" >"$state/ledger.json"
: >"$T/agent.log"
agent_start
held 10.10.0.21:80 "ledger.json is of format 999"
expect "no weight is taken" weights_are 5 6 7
agent_stop
expect "the file is what it was" cmp "$T/newer" "$state/ledger.json"
mv "$state/ledger.json" "$T/tmp/newer"
agent_start
wait_for "without it, r1 is out" 15 weights_are 0 6 7
act r1 good
wait_for "r1 is back" 15 weights_are 5 6 7
agent_stop
