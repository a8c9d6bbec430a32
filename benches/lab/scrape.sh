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

agent_start
prometheus-node-exporter --collector.disable-defaults --collector.ipvs --web.disable-exporter-metrics \
  --web.listen-address=127.0.0.1:9100 >"$T/node.log" 2>&1 &
NODE=http://127.0.0.1:9100
node_answers() { "$TOOLS" get $NODE/ >/dev/null 2>&1; }
wait_for "prometheus-node-exporter answers" 30 node_answers

scrape() { "$TOOLS" time "$1/metrics" "$2" >>"$T/$3"; }
admin() {
  local began=${EPOCHREALTIME/./}
  ipvsadm -Ln --stats >"$T/stats"
  echo "$(((${EPOCHREALTIME/./} - began) / 1000)) $(wc -c <"$T/stats")"
}
for ((run = 0; run < LAB_RUNS; run++)); do
  for encoding in identity gzip; do
    let_pass 2.5 # older than the snapshot's maximum age
    scrape $URL $encoding agent-cold-$encoding
    scrape $URL $encoding agent-warm-$encoding
    scrape $NODE $encoding node-$encoding
  done
  admin >>"$T/ipvsadm"
done

samples() { "$TOOLS" get "$1/metrics" | grep -vc '^#'; }
row() { # LABEL FILE SAMPLES: of lines `MILLISECONDS BYTES`
  sort -n "$T/$2" | awk -v label="$1" -v samples="$3" '
    { ms[NR] = $1; bytes = $2 }
    END { printf "%-42s %7d %7d %9s %9d\n", label, (ms[int((NR + 1) / 2)] + ms[int(NR / 2) + 1]) / 2, ms[NR], samples, bytes }'
}
echo "$LAB_SERVICES services of $LAB_SERVERS real servers: wall time of one scrape, ms, $LAB_RUNS runs each, in turn"
printf '%-42s %7s %7s %9s %9s\n' what median max samples bytes
ours=$(samples $URL) theirs=$(samples $NODE)
for encoding in identity gzip; do
  row "lvs-agent, cold, $encoding" agent-cold-$encoding "$ours"
  row "lvs-agent, warm, $encoding" agent-warm-$encoding "$ours"
  row "prometheus-node-exporter, ipvs, $encoding" node-$encoding "$theirs"
done
row "ipvsadm -Ln --stats" ipvsadm -
