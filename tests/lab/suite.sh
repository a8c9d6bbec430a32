# Runs inside the lab's kernel: each TEST.sh in network, process and mount namespaces of its own, so that whatever it
# leaves behind goes with it. Prints one line a test, and the log of a failed one.   usage: boot suite.sh TEST.sh...
# LAB_TEST_LIMIT (150, seconds: room for a machine that is busy) bounds one test, unless its head says `# limit: N s` and
# why; with LAB_LONG it may say `# long limit: N s`. A longer LAB_TEST_LIMIT goes before what a head says.
set -u
failed=0
for file in "$@"; do
  name=$(basename "$file" .sh)
  log=/run/lab/$name.log
  said=$(sed -n 's/^# limit: \([0-9]*\) s.*$/\1/p' "$file")
  limit=${said:-${LAB_TEST_LIMIT:-150}}
  [ "${LAB_TEST_LIMIT:-0}" -le "$limit" ] || limit=$LAB_TEST_LIMIT
  if [ -n "${LAB_LONG:-}" ]; then
    longer=$(sed -n 's/^# long limit: \([0-9]*\) s$/\1/p' "$file")
    limit=${longer:-$limit}
  fi
  began=$SECONDS
  # KILL, because unshare waits through anything else; its children die with it.
  {
    timeout --signal=KILL "$limit" \
      unshare --net --pid --mount --fork --kill-child --mount-proc bash "$file" >"$log" 2>&1 </dev/null
    status=$?
  } 2>/dev/null
  took=$((SECONDS - began))
  case $status in
    0) echo "test lab::$name ... ok ($took s)" ;;
    137) echo "test lab::$name ... FAILED (over its limit of $limit s)" ;;
    *) echo "test lab::$name ... FAILED ($took s)" ;;
  esac
  if [ $status != 0 ] || [ -n "${LAB_SHOW_LOGS:-}" ]; then
    tail -n 300 "$log" | sed 's/^/    > /'
  fi
  [ $status = 0 ] || failed=1
done
exit $failed
