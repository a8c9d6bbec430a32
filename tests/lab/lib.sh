# What the lab's scripts share. Source it inside the lab's kernel, in fresh network, process and mount namespaces
# (suite.sh makes them). The shell's own network namespace is the director d1, so whatever runs without `in_ns` runs there.
#
#   one segment: client .200, director d1 .11, real servers r1.. = .21.., VIP .100 of 10.10.0.0/24, the same of fd00:10::/64
set -Eeuo pipefail
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

VIP=10.10.0.100 VIP6=fd00:10::100
WEB=$VIP:80/tcp # the service that most tests use
T=/run/test     # the test's own files, gone with it
AGENT=${LAB_AGENT:?the lvs-agent binary} TOOLS=${LAB_TOOLS:?the lab-tools binary}
URL=http://127.0.0.1:10190
AGENT_PID=
declare -A SERVER # host -> pid of its HTTP server

# ---- words of a test ------------------------------------------------------------------------------------------------

step() { echo "== [$SECONDS s] $*"; }

fail() {
  echo "FAILED: $*"
  [ "$BASH_SUBSHELL" = 0 ] || exit 1
  trap - ERR
  set +e
  echo "-- ipvsadm -Sn"; ipvsadm -Sn | sed -n 1,80p
  local file
  for file in "$T"/*.log "$T/journal" "$T/load"; do
    [ -s "$file" ] && { echo "-- the end of $file"; tail -n 60 "$file" | uniq; }
  done
  exit 1
}

expect() { # DESCRIPTION COMMAND...
  local what=$1; shift
  "$@" || fail "$what: $*"
}

expect_eq() { # DESCRIPTION ACTUAL EXPECTED
  [ "$2" = "$3" ] || fail "$1 is
$2
but should be
$3"
}

expect_match() { # DESCRIPTION TEXT PATTERN (extended regular expression)
  grep -Eq -- "$3" <<<"$2" || fail "$1 should match /$3/ but is
$2"
}

wait_for() { # DESCRIPTION LIMIT_S COMMAND...: until the command succeeds
  local what=$1 limit=$2 end=$((SECONDS + $2)); shift 2
  until "$@"; do
    agent_lives || fail "the agent ended by itself, while waiting: $what"
    [ $SECONDS -lt $end ] || fail "not within $limit s: $what ($*)"
    sleep 0.05
  done
}

# Time itself is the condition (a cache grows old, an interval passes): the only sleep that a test may want.
let_pass() { sleep "$1"; }

# ---- the network ----------------------------------------------------------------------------------------------------

in_ns() { # NS COMMAND...
  local ns=$1; shift
  if [ "$ns" = d1 ]; then "$@"; else ip netns exec "$ns" "$@"; fi
}

plug() { # NS OCTET: eth0 of an existing namespace into the segment
  ip link add "$1-e" netns lan type veth peer name eth0 netns "$1"
  ip -n lan link set "$1-e" master br0 up
  ip -n "$1" -batch - <<END
link set lo up
link set eth0 up
addr add 10.10.0.$2/24 dev eth0
addr add fd00:10::$2/64 dev eth0 nodad
END
}

host() { # NAME OCTET
  ip netns add "$1"
  plug "$1" "$2"
}

real_server() { # N [BEHAVIOUR]: the host rN with the VIP on lo, quiet on ARP, its HTTP server running
  host "r$1" $((20 + $1))
  in_ns "r$1" sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
  ip -n "r$1" -batch - <<END
addr add $VIP/32 dev lo
addr add $VIP6/128 dev lo nodad
END
  serve "r$1" "${@:2}"
}

cluster() { # N: a client and N real servers
  local n
  host client 200
  for ((n = 1; n <= $1; n++)); do real_server "$n"; done
}

actors() { # N: as cluster, of real servers that do as they are told
  local n
  mkdir "$T/as"
  host client 200
  for ((n = 1; n <= $1; n++)); do
    act "r$n" good
    real_server "$n" "@$T/as/$(rip "r$n")"
  done
}

act() { # HOST good|unavailable|…: from its next request on (lab-tools knows more words); costs no process
  local octet=$((20 + ${1#r}))
  echo "$2" >"$T/as/10.10.0.$octet"
}

rip() { echo "10.10.0.$((20 + ${1#r}))"; }
rip6() { echo "fd00:10::$((20 + ${1#r}))"; }

serve() { # HOST [BEHAVIOUR]
  ip netns exec "$1" "$TOOLS" serve '[::]:80' "$@" >>"$T/serve.log" 2>&1 &
  SERVER[$1]=$!
  disown
  wait_for "the HTTP server of $1 listens" 10 listens "$1"
}

listens() { (exec 3<>"/dev/tcp/$(rip "$1")/80") 2>/dev/null; }

crash() { # HOST: its HTTP server dies as by kill -9
  kill -9 "${SERVER[$1]}"
}

# ---- the kernel's table ---------------------------------------------------------------------------------------------

ipvs_args() { # SERVICE: as ipvsadm names it: 10.10.0.100:80/tcp -> -t 10.10.0.100:80
  case $1 in
    */tcp) echo "-t ${1%/tcp}" ;;
    */udp) echo "-u ${1%/udp}" ;;
    fwmark:*/ipv4) local mark=${1#fwmark:}; echo "-f ${mark%/ipv4}" ;;
    fwmark:*/ipv6) local mark=${1#fwmark:}; echo "-f ${mark%/ipv6} -6" ;;
    *) fail "not the name of a virtual server: $1" ;;
  esac
}

virtual_server() { # SERVICE SCHEDULER [RS WEIGHT]...: direct routing
  local args; args=$(ipvs_args "$1")
  { echo "-A $args -s $2"
    local i; for ((i = 3; i < $#; i += 2)); do
      local j=$((i + 1)); echo "-a $args -r ${!i} -g -w ${!j}"
    done; } | ipvsadm -R
}

set_weight() { # SERVICE RS WEIGHT: by hand, as an operator does
  ipvsadm -e $(ipvs_args "$1") -r "$2" -g -w "$3"
}

weight() { # SERVICE RS
  local table line; table=$(ipvsadm -Sn)
  while read -r line; do
    case $line in "-a $(ipvs_args "$1") -r $2 "*)
      line=${line##* -w }; echo "${line%% *}"; return ;;
    esac
  done <<<"$table"
  echo absent
}

weight_is() { [ "$(weight "$1" "$2")" = "$3" ]; }
table_is() { [ "$(ipvsadm -Sn)" = "$1" ]; }

weights_are() { # WEIGHT...: of r1, r2, … in $WEB; costs no process
  local line want key n=0 service=
  local -A found=()
  while read -r -a line; do
    case ${line[0]} in
      TCP | UDP | FWM) service=${line[1]} ;;
      '->') found[$service ${line[1]}]=${line[3]} ;;
    esac
  done </proc/net/ip_vs
  for want in "$@"; do
    n=$((n + 1))
    printf -v key '0A0A0064:0050 0A0A00%02X:0050' $((20 + n))
    [ "${found[$key]:-absent}" = "$want" ] || return 1
  done
}

journal_start() { # from here on each change of the table is a line in $T/journal
  "$TOOLS" journal "$T/journal" 2>>"$T/tools.log" &
  disown
  wait_for "the journal has begun" 10 test -s "$T/journal"
}

# ---- clients --------------------------------------------------------------------------------------------------------

load_start() { # [ADDR:PORT]: requests without end from the client, one line each in $T/load
  ip netns exec client "$TOOLS" load "${1:-$VIP:80}" 10 "$T/load" 2>>"$T/tools.log" &
  LOAD_PID=$!
}

load_stop() {
  kill "$LOAD_PID"
  wait "$LOAD_PID" || fail "the load client ended by itself"
}

requests() { if [ -e "$T/load" ]; then wc -l <"$T/load"; else echo 0; fi; }
requests_reach() { [ "$(requests)" -ge "$1" ]; }

failed_between() { # FROM_US TO_US: requests begun in between that failed
  awk -v from="$1" -v to="$2" '$1 >= from && $1 < to && $2 != "ok"' "$T/load"
}

figures() { # N...: their median, the greatest, all of them in order
  local sorted n=$#; mapfile -t sorted < <(printf '%s\n' "$@" | sort -n)
  echo "$(((sorted[(n - 1) / 2] + sorted[n / 2]) / 2)) ${sorted[n - 1]} ${sorted[*]}"
}

# ---- keepalived -----------------------------------------------------------------------------------------------------

documented() { # LANGUAGE NAME: that block of docs/operations.md, so that what is tested is what is written there
  local text; text=$(awk -v fence="\`\`\`$1 $2" '/^```/ { on = $0 == fence; next } on' "$(dirname "$0")/../../docs/operations.md")
  [ -n "$text" ] || fail "docs/operations.md has no block \`$1 $2\`"
  echo "$text"
}

keepalived_conf() { # from stdin
  { printf 'global_defs {\n  router_id d1\n}\n'; cat; } >"$T/keepalived.conf"
}

keepalived_start() { # takes the VIP over
  ip addr del $VIP/32 dev eth0
  keepalived --dont-fork --log-console --log-detail -f "$T/keepalived.conf" \
    -p "$T/keepalived.pid" -r "$T/vrrp.pid" -c "$T/checkers.pid" >"$T/keepalived.log" 2>&1 &
  KEEPALIVED=$!
  disown
  wait_for "keepalived is master" 20 vip_is_here
}

vip_is_here() { [ -n "$(ip -4 -o addr show dev eth0 to $VIP)" ]; }

keepalived_reload() {
  local before; before=$(keepalived_reloads)
  kill -HUP "$KEEPALIVED"
  wait_for "keepalived has reloaded" 15 keepalived_reloads_above "$before"
}
keepalived_reloads() { grep -c 'Reload complete' "$T/keepalived.log" || true; }
keepalived_reloads_above() { [ "$(keepalived_reloads)" -gt "$1" ]; }

# ---- the agent ------------------------------------------------------------------------------------------------------

agent_config() { cat >"$T/agent.toml"; }

default_config() { # [SERVICE_LINES [MATCH [CHECK_LINES]]]: http, interval 1 s, rise 1, fall 1; for every TCP service
  local match=${2:-'"*:*/tcp"'}
  agent_config <<END
[defaults]
interval = "1s"
timeout = "900ms"
rise = 1
fall = 1
[check.web]
type = "http"
path = "/"
${3:-}
[[service]]
match = [$match]
checks = ["web"]
${1:-}
END
}

defaults() { # LINE...: in [defaults] of the configuration, in the place of those with the same keys
  local line
  for line; do
    sed -i -e "/^\[defaults\]/,/^\[check/{/^${line%% *} = /d}" -e "s/^\[defaults\]\$/&\n$line/" "$T/agent.toml"
  done
}

quick_config() { # as default_config, but five times a second, and the table is read as often
  default_config
  defaults 'interval = "200ms"'
  sed -i '1i [ipvs]\npoll-interval = "200ms"' "$T/agent.toml"
}

agent_spawn() { # [ARG]...: as agent_start, without waiting
  local config=()
  [ ! -e "$T/agent.toml" ] || config=(--config "$T/agent.toml")
  "$AGENT" run "${config[@]}" --web.listen-address 127.0.0.1:10190 --state-dir "$T/state" "$@" >>"$T/agent.log" 2>&1 &
  AGENT_PID=$!
}

agent_start() { # [ARG]...
  agent_spawn "$@"
  wait_for "the agent answers" 20 agent_answers
}

agent_lives() { [ -z "$AGENT_PID" ] || kill -0 "$AGENT_PID" 2>/dev/null; } # or none is meant to

agent_answers() {
  "$TOOLS" get "$URL/-/healthy" >/dev/null 2>&1
}

agent_stop() { # by SIGTERM, which must be a clean end
  kill "$AGENT_PID"
  local status=0; wait "$AGENT_PID" || status=$?
  AGENT_PID=
  expect_eq "the exit status after SIGTERM" "$status" 0
}

agent_kill9() {
  kill -9 "$AGENT_PID"
  wait "$AGENT_PID" 2>/dev/null || true
  AGENT_PID=
}

agent_run() { # EXPECTED_STATUS ARG...: a command that ends; its output is in $OUT
  local want=$1 status=0; shift
  OUT=$(timeout 30 "$AGENT" "$@" 2>&1) || status=$?
  [ "$status" = "$want" ] || fail "lvs-agent $*: exit status $status, not $want, and it said:
$OUT"
}

metric() { # NAME [LABEL=VALUE]...
  "$TOOLS" metric "$URL/metrics" "$@"
}

metric_is() { # VALUE NAME [LABEL=VALUE]...
  local want=$1; shift
  [ "$(metric "$@" 2>>"$T/tools.log")" = "$want" ]
}

metric_above() { # N NAME [LABEL=VALUE]...
  local than=$1 value; shift
  value=$(metric "$@" 2>>"$T/tools.log")
  [ "$value" != absent ] && [ "${value%.*}" -gt "$than" ]
}

rs_metric() { # NAME SERVICE RS [LABEL=VALUE]...
  metric "$1" virtual_server="$2" real_server="$3" "${@:4}"
}

rs_metric_is() { # VALUE NAME SERVICE RS [LABEL=VALUE]...
  metric_is "$1" "$2" virtual_server="$3" real_server="$4" "${@:5}"
}

state_is() { # N STATE SERVICE: so many of its real servers are in that state
  metric_is "$1" lvs_virtual_server_real_servers virtual_server="$3" state="$2"
}

rs_api() { # SERVICE RS SEGMENT...: of /api/v1/status
  "$TOOLS" json "$URL/api/v1/status" virtual_servers "$1" real_servers "${@:2}"
}

rs_api_is() { # VALUE SERVICE RS SEGMENT...
  [ "$(rs_api "${@:2}" 2>>"$T/tools.log")" = "$1" ]
}

further_probes() { # N SERVICE RS: waits for so many more probes of it
  local now; now=$(rs_metric lvs_check_attempts_total "$2" "$3")
  wait_for "$1 further probes of $3" $((5 + 3 * $1)) \
    metric_above $((now + $1 - 1)) lvs_check_attempts_total virtual_server="$2" real_server="$3"
}

# ---- from here on: the director -------------------------------------------------------------------------------------

mkdir -p "$T" /run/lvs-agent
mount -t tmpfs test "$T"
mount -t tmpfs netns /run/netns
mount -t tmpfs lvs-agent /run/lvs-agent
mkdir "$T/tmp"; export TMPDIR=$T/tmp
ip netns attach d1 $$
ip netns add lan
ip -n lan link add br0 type bridge
ip -n lan link set br0 up
plug d1 11
ip -batch - <<END
addr add $VIP/32 dev eth0
addr add $VIP6/128 dev eth0 nodad
END
