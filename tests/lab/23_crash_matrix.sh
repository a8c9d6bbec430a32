# The agent dies at each point between the ledger and the kernel, while it takes a weight and while it gives one back, and
# the next one finds the server still failing, or well: no weight is lost, and an operator's 0 beside it stays one.
# limit: 200 s, for 48 lives of an agent
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
ulimit -c 0
actors 3
virtual_server $WEB wrr 10.10.0.21:80 5 10.10.0.22:80 6 10.10.0.23:80 0
quick_config

record() { # sets RECORD: none, or what the ledger on disk owes r1; costs no process
  local ledger= owed state
  [ ! -e "$T/state/ledger.json" ] || ledger=$(<"$T/state/ledger.json")
  RECORD=none
  [[ $ledger == *'"real_server": "10.10.0.21:80"'* ]] || return 0
  [[ $ledger =~ \"owed\":\ ([0-9]+) ]] && owed=${BASH_REMATCH[1]}
  [[ $ledger =~ \"state\":\ \"([a-z]+)\" ]] && state=${BASH_REMATCH[1]}
  RECORD="$state $owed"
}
record_is() { record; [ "$RECORD" = "$1" ]; }

dies_at() { # POINT WEIGHT RECORD: the agent starts, dies there, and leaves r1 like this
  local status=0
  LVS_AGENT_FAILPOINT=$1 agent_spawn
  wait "$AGENT_PID" 2>/dev/null || status=$?
  AGENT_PID=
  expect_eq "the exit status (SIGABRT) at $1" "$status" 134
  expect "at $1: weights $2 6 0" weights_are "$2" 6 0
  record
  expect_eq "the record at $1" "$RECORD" "$3"
}

settles() { # WEIGHT RECORD UP DOWN: an agent starts, and all is like this when everybody is judged
  : >"$T/agent.log"
  agent_spawn
  wait_for "the next agent: weights $1 6 0" 20 weights_are "$1" 6 0
  wait_for "the next agent: record $2" 20 record_is "$2"
  judged() { # r3 is at an operator's 0, and judged all the same
    [ "$(grep -c 'the verdict changed.*10.10.0.21:80.*verdict=down' "$T/agent.log")" -ge "$4" ] &&
      [ "$(grep -c 'the verdict changed.*verdict=up' "$T/agent.log")" -ge "$3" ]
  }
  wait_for "$3 are judged up, $4 down" 20 judged "$@"
  expect "once all are judged: weights $1 6 0" weights_are "$1" 6 0
  expect "once all are judged: record $2" record_is "$2"
  agent_kill9
}
drained() { settles 0 "done 5" 2 1; }
whole() { settles 5 none 3 0; }

drain_dies_at() { act r1 unavailable; dies_at "$@"; }
restore_dies_at() { act r1 good; dies_at "$@"; }

# POINT, and what is left there: by a drain, and by a restore.
while read -r point drain_weight drain_record restore_weight restore_record; do
  step "$point"
  drain_dies_at "$point" "$drain_weight" "${drain_record/-/ }"
  drained
  restore_dies_at "$point" "$restore_weight" "${restore_record/-/ }"
  act r1 unavailable
  drained
  restore_dies_at "$point" "$restore_weight" "${restore_record/-/ }"
  whole
  drain_dies_at "$point" "$drain_weight" "${drain_record/-/ }"
  act r1 good
  whole
done <<END
before_save     5 none      5 done-5
mid_save        5 none      5 done-5
after_save      5 pending-5 5 none
before_write    5 pending-5 0 done-5
after_write     0 pending-5 5 done-5
after_read_back 0 pending-5 5 done-5
END
