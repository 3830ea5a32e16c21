# sipxrest as a node of a cluster, with three stores beside it. What the stores take is counted apart from the node's process.
. "$HERE/targets/sipxrest.sh"
eval "single_$(declare -f target_start)"
target_start() {
	local i p=$((SRV_HTTP_PORT + 100)) nats= peers=
	for i in 0 1 2; do
		nats+="\"nats://$SRV_IP:$((p + i))\", " peers+="\"$SRV_IP:$((p + 10 + i))\", "
	done
	: >"$STEP/beside.pids"
	for i in 0 1 2; do
		echo "store: {listen: \"$SRV_IP:$((p + i))\", route-port: $((p + 10 + i)), peers: [${peers%, }], dir: \"$STEP/store$i\"}" >"$STEP/store$i.yaml"
		("$GOPROG" store --config "$STEP/store$i.yaml" >"$STEP/store$i.log" 2>&1 </dev/null) &
		RUN_PIDS+=($!)
		echo $! >>"$STEP/beside.pids"
	done
	for i in 0 1 2; do wait_tcp "$SRV_IP" $((p + i)) || return 1; done
	export SIPXREST_CLUSTER_NODE=bench SIPXREST_CLUSTER_NATS="[${nats%, }]" SIPXREST_METRICS_LISTEN=$SRV_IP:$((p + 20))
	single_target_start || return 1
	unset SIPXREST_CLUSTER_NODE SIPXREST_CLUSTER_NATS SIPXREST_METRICS_LISTEN
	for ((i = 0; i < 600; i++)); do
		[ "$(curl -s -o /dev/null -w '%{http_code}' "http://$SRV_IP:$((p + 20))/readyz")" = 200 ] && return 0
		sleep 0.05
	done
	log "the node does not join"
	return 1
}
target_stop() {
	local p all=()
	for p in $(<"$STEP/beside.pids"); do all+=($(tree "$p")); done
	for p in $(server_pids | tac); do stop_pid "$p"; done
	for p in "${all[@]}"; do stop_pid "$p"; done
}
