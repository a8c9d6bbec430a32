# What the agent says, and how it exits, where it cannot do its job.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
cluster 1
virtual_server $WEB rr 10.10.0.21:80 5
no_capability=(setpriv --bounding-set=-net_admin --inh-caps=-net_admin)

step "no CAP_NET_ADMIN, with a configuration: 77"
default_config
plain=$AGENT
AGENT=$T/without
printf '#!/bin/sh\nexec %s "%s" "$@"\n' "${no_capability[*]}" "$plain" >"$AGENT"
chmod +x "$AGENT"
agent_run 77 run --config "$T/agent.toml" --web.listen-address 127.0.0.1:10190 --state-dir "$T/state"
expect_match "the error" "$OUT" CAP_NET_ADMIN

step "no CAP_NET_ADMIN, without one: what /proc shows"
rm "$T/agent.toml"
agent_start
expect_eq "ipvs_up" "$(metric ipvs_up)" 0
expect_eq "weight" "$(rs_metric ipvs_real_server_weight $WEB 10.10.0.21:80)" 5
expect_eq "connections" "$(rs_metric ipvs_real_server_active_connections $WEB 10.10.0.21:80)" 0
expect_eq "no counter is made up" "$(rs_metric ipvs_real_server_connections_total $WEB 10.10.0.21:80)" absent
agent_stop
AGENT=$plain

step "the port is taken: 69"
default_config
"$TOOLS" serve 127.0.0.1:10190 other &
listening() { (exec 3<>/dev/tcp/127.0.0.1/10190) 2>/dev/null; }
wait_for "something else listens" 10 listening
agent_run 69 run --config "$T/agent.toml" --web.listen-address 127.0.0.1:10190 --state-dir "$T/state"
expect_match "the error" "$OUT" '127\.0\.0\.1:10190'

step "a broken configuration: 78, every fault with its line and column"
agent_config <<END
mode = "enforce"
[defaults]
interval = "soon"
[check.web]
type = "http"
pathh = "/"
[[service]]
match = ["10.10.0.100:80"]
checks = ["wbe"]
END
agent_run 78 run --config "$T/agent.toml" --web.listen-address 127.0.0.1:10190 --state-dir "$T/state"
for place in 3:12 6:1 8:10 9:1; do
  expect_match "the fault near $place" "$OUT" "agent\.toml:${place%:*}:[0-9]+"
done

agent_run 78 run --config "$T/no-such-file.toml"
expect_match "a missing file" "$OUT" "no-such-file\.toml"
: >"$T/agent.toml"
agent_run 78 run --config "$T/agent.toml"
agent_run 2 run --no-such-flag
expect_eq "the table after all this" "$(weight $WEB 10.10.0.21:80)" 5
