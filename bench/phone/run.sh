#!/bin/bash
# Calls over WebSocket through a service of its own, measured from another
# process. TLS=1 has it speak TLS. The arguments are numbers of calls.
set -eu
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
go build -o "$dir/sipxrest" ./cmd/sipxrest
go build -o "$dir/phone" ./bench/phone
plain=true url=http://127.0.0.1:18080
[ -z "${TLS:-}" ] || plain=false url=https://127.0.0.1:18080
cat >"$dir/sipxrest.yaml" <<END
domain: bench.test
data-dir: $dir/data
users: [users.yaml]
trusted: []
sip: {listen: ["udp:127.0.0.1:0"], outbound-proxy: ["sip:127.0.0.1:9"], health: {interval: 0s}}
http: [{listen: "127.0.0.1:0", auth: pin}]
limits: {connections: 100000, connections-per-address: 100000}
phone: {enabled: true, listen: "127.0.0.1:18080", plain-http: $plain, limits: {sockets: 100000, calls: 100000}}
log: {level: warn}
END
echo '- {user: "201", pin: "1"}' >"$dir/users.yaml"
"$dir/sipxrest" -c "$dir/sipxrest.yaml" &
service=$!
trap 'kill $service; wait $service || true; rm -rf "$dir"' EXIT
for _ in $(seq 100); do
	(exec 3<>/dev/tcp/127.0.0.1/18080) 2>/dev/null && break
	sleep 0.1
done
"$dir/phone" -url "$url" -database "$dir/data/phone.db" -pid "$service" -time "${TIME:-20s}" "${@:-500}"
