# SIPp alone in the server's place: no HTTP, calls at a constant rate.  What the
# SIP part costs on this machine at the least, with a real (if simple) SIP stack.
START_RATE=${START_RATE_SIPP:-12000}
ACH_MIN=0.95   # its elapsed time includes start and the last calls

target_start() { :; }   # the server is the load: see target_load
target_stop() { :; }
target_load() { # rate seconds
	local n=$(($1 * $2)) t0 t1 u s eu es
	rm -f "$STEP"/uac.*
	t0=$(now)
	(pin_srv python3 "$HERE/lib/timed.py" "$STEP/server.pids" "$STEP/uac.time" \
		sipp -sf "$HERE/scenarios/server_uac.xml" -inf "$HERE/out/users.csv" \
		-i "$UAC_IP" -bind_local -p "$SRV_SIP_PORT" -nostdin -cp 18891 -r "$1" -m "$n" -l 200000 \
		-recv_timeout 8000 -deadcall_wait 1000 -buff_size 4000000 \
		-max_recv_loops 100 -max_sched_loops 1000 \
		-watchdog_minor_maxtriggers 1000000 -watchdog_major_maxtriggers 1000000 \
		-trace_stat -stf "$STEP/uac.csv" -fd 1 -timeout $(($2 + 15)) \
		"$PHONE_IP:$PHONE_PORT" >"$STEP/uac.out" 2>&1 </dev/null)
	t1=$(now)
	: >"$STEP/server.pids"
	read -r u s <"$STEP/uac.time"
	read -r eu es <"$STEP/extra.ticks"
	awk -v u="$u" -v s="$s" -v eu="$eu" -v es="$es" 'BEGIN {printf "%d %d\n", eu + u * 100 + .5, es + s * 100 + .5}' >"$STEP/extra.ticks"
	awk -F';' -v n="$n" -v e="$(echo "$t1 $t0" | awk '{print $1 - $2}')" '
		NR == 1 {for (i = 1; i <= NF; i++) c[$i] = i; next}
		{ok = $c["SuccessfulCall(C)"]; bad = $c["FailedCall(C)"]}
		END {printf "{\"issued\": %d, \"ok\": %d, \"n_errors\": %d, \"achieved_rps\": %.1f}\n", n, ok, bad, ok / e}' \
		"$STEP/uac.csv" >"$STEP/load.json"
}
