#!/bin/bash
# What several nodes cost, and how long a takeover takes. Run it on a machine that has nothing else to do.
#   bench/cluster.sh                         node and takeover, then the table of both
#   bench/cluster.sh node [RATE...]          a single node and one of a cluster in turn, PAIRS (5) of each, SECS (20) s of load
#   bench/cluster.sh takeover [CALLS]        kill -9 of a node with CALLS (1000) bridged calls
#   bench/cluster.sh single BIN BIN [RATE]   a single node before and after: PAIRS (5) steps of each in turn
#   bench/cluster.sh table                   the table of what was measured last
# PAIRS=1 SECS=5 bench/cluster.sh node 200 shows whether all works.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
export PAIRS=${PAIRS:-5} OUT=${OUT:-$HERE/out/cluster}
export PATH=$PATH:/usr/sbin # where Debian has kamailio, for users who are not root
SECS=${SECS:-20}
mkdir -p "$OUT"

fresh() { rm -f "$OUT/$1"; } # what an earlier run has left
table() { python3 "$HERE/lib/report.py" cluster "$OUT/results.jsonl" "$OUT/takeover.txt"; }

node() {
	local rate i target
	[ $# -gt 0 ] || set -- 1000 5000
	fresh results.jsonl
	for rate in "$@"; do
		for ((i = 1; i <= PAIRS; i++)); do
			for target in sipxrest sipxrest-cluster; do
				REP=$i KIND=node@$rate "$HERE/run.sh" step $target "$rate" "$SECS" || true # the table says that it failed
			done
		done
	done
}

takeover() {
	fresh takeover.txt
	(cd "$HERE/.." && CLUSTER_CALLS=${1:-1000} go test -tags interop -count=1 -parallel 1 -timeout 30m -v \
		-run '^TestCallsOutliveTheirNode$' ./cmd/sipxrest/interop/) >"$OUT/takeover.txt" 2>&1 || {
		tail -n 40 "$OUT/takeover.txt" >&2
		table
		return 1
	}
}

cmd=${1:-all}
[ $# = 0 ] || shift
case $cmd in
all)
	node
	takeover
	table
	;;
node)
	node "$@"
	table
	;;
takeover)
	takeover "$@"
	table
	;;
single)
	[ $# -ge 2 ] || { sed -n '2,9p' "$0" >&2; exit 2; }
	fresh results.jsonl
	"$HERE/run.sh" pairs "${3:-1000}" "$SECS" "$1" "$2"
	;;
table)
	table
	;;
*)
	sed -n '2,9p' "$0" >&2
	exit 2
	;;
esac
