# Wall time of one scrape of a big table: lvs-agent (cold: the table is read for it; warm: within the snapshot's 2 s),
# prometheus-node-exporter with its ipvs collector alone, and `ipvsadm -Ln --stats`.
. "$(dirname "$0")/../../tests/lab/lib.sh"
modprobe ip_vs
{
  for ((s = 0; s < LAB_SERVICES; s++)); do
    service="10.100.$((s / 250)).$((s % 250 + 1)):80"
    echo "-A -t $service -s wrr"
    for ((r = 0; r < LAB_SERVERS; r++)); do
      n=$((s * LAB_SERVERS + r))
      echo "-a -t $service -r 10.$((20 + n / 62500)).$((n / 250 % 250)).$((n % 250 + 1)):80 -g -w 1"
    done
  done
} >"$T/table"
ipvsadm -R <"$T/table"

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
row() { # LABEL < lines of `MILLISECONDS BYTES SAMPLES`
  local lines; lines=$(cat)
  printf '%-34s %7d %7d   %s\n' "$1" "$(median <<<"$lines")" "$(sort -n <<<"$lines" | tail -n 1 | cut -d' ' -f1)" \
    "$(tail -n 1 <<<"$lines" | awk '{ if (NF > 1) print $3 " samples, " $2 " bytes" }')"
}

agent_start
cold=() warm=()
for _ in 1 2 3 4 5; do
  let_pass 2.5 # older than the snapshot's maximum age
  cold+=("$("$TOOLS" time $URL/metrics)")
  warm+=("$("$TOOLS" time $URL/metrics)")
done
agent_stop

prometheus-node-exporter --collector.disable-defaults --collector.ipvs --web.disable-exporter-metrics \
  --web.listen-address=127.0.0.1:9100 >"$T/node.log" 2>&1 &
node=$!
node_answers() { "$TOOLS" get http://127.0.0.1:9100/ >/dev/null 2>&1; }
wait_for "prometheus-node-exporter answers" 30 node_answers
node_exporter=() admin=()
for _ in 1 2 3 4 5; do node_exporter+=("$("$TOOLS" time http://127.0.0.1:9100/metrics)"); done
kill $node
for _ in 1 2 3 4 5; do
  began=${EPOCHREALTIME/./}
  ipvsadm -Ln --stats >"$T/stats"
  admin+=("$(((${EPOCHREALTIME/./} - began) / 1000))")
done

echo "$LAB_SERVICES services of $LAB_SERVERS real servers; ms of wall time, 5 runs each"
printf '%-34s %7s %7s   %s\n' what median max answer
printf '%s\n' "${cold[@]}" | row "lvs-agent, cold"
printf '%s\n' "${warm[@]}" | row "lvs-agent, warm"
printf '%s\n' "${node_exporter[@]}" | row "prometheus-node-exporter, ipvs only"
printf '%s\n' "${admin[@]}" | row "ipvsadm -Ln --stats"
