#!/bin/bash
# What several nodes cost, and how long a takeover takes. Run it on a machine that has nothing else to do.
#   bench/cluster.sh single BIN BIN [RATE]   a single node before and after: PAIRS (5) steps of each in turn
#   bench/cluster.sh node [RATE...]          a single node and one of a cluster in turn, PAIRS (5) of each
#   bench/cluster.sh takeover [CALLS]        kill -9 of a node with CALLS (1000) bridged calls
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
export PAIRS=${PAIRS:-5}
cmd=${1:-}
[ $# = 0 ] || shift
case $cmd in
single)
	"$HERE/run.sh" pairs "${3:-1000}" 20 "$1" "$2"
	;;
node)
	[ $# -gt 0 ] || set -- 1000 5000
	for rate in "$@"; do
		for ((i = 0; i < PAIRS; i++)); do
			for target in sipxrest sipxrest-cluster; do "$HERE/run.sh" step $target "$rate" 20; done
		done
	done
	"$HERE/run.sh" summary
	;;
takeover)
	cd "$HERE/.."
	PATH=$PATH:/usr/sbin CLUSTER_CALLS=${1:-1000} go test -tags interop -count=1 -parallel 1 -timeout 30m -v \
		-run '^TestCallsOutliveTheirNode$' ./cmd/sipxrest/interop/ | grep -E 'the last of|^ *--- |FAIL'
	;;
*)
	sed -n '3,5p' "$0"
	exit 2
	;;
esac
