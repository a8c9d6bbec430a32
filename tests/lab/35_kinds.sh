# Checks in HTTP/2: gRPC's health protocol for one virtual server, a page for another, of the same real servers.
. "$(dirname "$0")/lib.sh"
modprobe ip_vs
actors 3
PAGES=$VIP:8080/tcp
virtual_server $WEB wrr 10.10.0.21:80 3 10.10.0.22:80 4 10.10.0.23:80 5
virtual_server $PAGES wrr 10.10.0.21:8080 3 10.10.0.22:8080 4 10.10.0.23:8080 5
owed=$(ipvsadm -Sn)
default_config '' "\"$PAGES\"" 'http-version = "2"
port = 80
body-contains = "r"'
cat >>"$T/agent.toml" <<END
[check.health]
type = "grpc"
grpc-service = "shop.Cart"
[[service]]
match = ["$WEB"]
checks = ["health"]
END
agent_start
wait_for "all three serve" 20 state_is 3 up $WEB
wait_for "all three have their page" 20 state_is 3 up $PAGES
expect_eq "the table of healthy servers" "$(ipvsadm -Sn)" "$owed"

step "one says that it does not serve, one speaks something else"
act r1 unavailable
act r2 garbage
for n in 1 2; do
  wait_for "r$n is out by gRPC" 15 weight_is $WEB 10.10.0.2$n:80 0
  wait_for "r$n is out by its page" 15 weight_is $PAGES 10.10.0.2$n:8080 0
done
failures() { rs_metric lvs_check_failures_total "$1" "10.10.0.2$2" reason="$3"; }
expect "r1 said so" test "$(failures $WEB 1:80 not_serving)" -ge 1
expect "r1's page" test "$(failures $PAGES 1:8080 bad_status)" -ge 1
expect "r2 is not understood" test "$(failures $WEB 2:80 bad_response)" -ge 1
expect_eq "the third" "$(weight $WEB 10.10.0.23:80) $(weight $PAGES 10.10.0.23:8080)" "5 5"

step "they mend: the table is what it was"
act r1 good
act r2 good
wait_for "the table as it was" 15 table_is "$owed"
agent_stop
