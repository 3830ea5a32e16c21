# sipxrest itself, built from this repository; GOPROG names another binary of it. Without PINs checked (a trusted peer), BYE on the outcome, one user per caller.
START_RATE=${START_RATE_SIPXREST:-3000}
: "${EVENTS:=off}"   # off, memory or sqlite: the JSON API and its log of events beside
if [ -z "${GOPROG:-}" ]; then
	GOPROG=$HERE/out/sipxrest
	(cd "$HERE/.." && go build -trimpath -o "$GOPROG" ./cmd/sipxrest) || exit 1
fi

target_start() {
	local api=true store=events.db
	[ "$EVENTS" = off ] && api=false
	[ "$EVENTS" = memory ] && store=memory
	seq -f '- {user: "%.0f", pin: "123", sip-password: "123"}' 100000 $((100000 + USERS - 1)) >"$STEP/users.yaml"
	cat >"$STEP/sipxrest.yaml" <<-C
		domain: bench.test
		data-dir: $STEP/data
		sip:
		  listen: ["udp:$SRV_IP:$SRV_SIP_PORT"]
		  outbound-proxy: ["sip:$PHONE_IP:$PHONE_PORT"]
		http:
		  - {listen: "$SRV_IP:$SRV_HTTP_PORT", auth: trusted}
		trusted: [127.0.0.0/8]
		users: ["$STEP/users.yaml"]
		refer: {hangup-on: outcome}
		api: {enabled: $api}
		events: {store: $store}
	C
	(pin_srv "$GOPROG" serve --config "$STEP/sipxrest.yaml" >"$STEP/server.log" 2>&1 </dev/null) &
	echo $! >"$STEP/server.pids"
	wait_tcp "$SRV_IP" "$SRV_HTTP_PORT" && wait_udp "$SRV_IP" "$SRV_SIP_PORT"
}
target_request() {
	REQ_METHOD=POST
	REQ_URL="http://$SRV_IP:$SRV_HTTP_PORT/callcontroller/{caller}/{callee}?timeout=30&resultCacheTime=10"
	REQ_HEADERS=() REQ_BODY= REQ_ARGS=()
}
