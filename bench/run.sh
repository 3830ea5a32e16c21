#!/bin/bash
# Side-by-side benchmark of click-to-call servers.  See README.md.
#   ./run.sh step  TARGET RATE [SECONDS]   one load step
#   ./run.sh max   TARGET                  highest sustained rate
#   ./run.sh cpu   TARGET [RATE...]        CPU per call at given rates
#   ./run.sh mem   TARGET                  memory with 10000 calls ringing
#   ./run.sh leak  TARGET                  memory left behind by finished calls
#   ./run.sh overload TARGET RATE          0.8, 1, 1.3, 2 times of RATE, and 0.5 after that
#   ./run.sh pairs RATE SECONDS BIN BIN    steps of two binaries of sipxrest in turn, PAIRS (3) of each
#   ./run.sh trace TARGET                  one call, messages as the phone saw them
#   ./run.sh all   [TARGET...]             REPS (3) repetitions of everything, and a summary
#   ./run.sh summary [RESULTS.jsonl]       tables from a results file
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
: "${OUT:=$HERE/out}"
mkdir -p "$OUT"
. "$HERE/lib/lib.sh"
export QUIET_FOREIGN
trap cleanup EXIT
trap 'exit 130' INT TERM
ulimit -n 20000 2>/dev/null

build() {
	[ "$HERE/out/ctcdriver" -nt "$HERE/driver/main.go" ] || (mkdir -p "$HERE/out" && cd "$HERE/driver" && go build -o "$HERE/out/ctcdriver" .) || exit 1
	[ "$HERE/scenarios/phone_fast.xml" -nt "$HERE/scenarios/gen.py" ] || python3 "$HERE/scenarios/gen.py" || exit 1
	[ -s "$HERE/out/users.csv" ] || (echo SEQUENTIAL && paste -d';' <(seq 100000 109999) <(seq 200000 209999)) >"$HERE/out/users.csv"
}
build

cmd=${1:-}
shift
case $cmd in
step)
	load_target "$1"
	WARM=${WARM:-3} step "$2" "${3:-20}" "${KIND:-step}"
	;;
max)
	load_target "$1"
	find_max
	echo "$TARGET: $MAX calls/s"
	;;
cpu)
	load_target "$1"
	shift
	for r in "${@:-1000}"; do WARM=6 step_quiet "$r" ${CPU_S:-20} "cpu@$r"; done
	;;
mem)
	load_target "$1"
	mem_test
	;;
leak)
	load_target "$1"
	leak_test
	;;
overload)
	load_target "$1"
	overload_test "$2"
	;;
pairs)
	a=$3 b=$4
	for ((REP = 1; REP <= ${PAIRS:-3}; REP++)); do
		for GOPROG in "$a" "$b"; do
			load_target sipxrest
			WARM=${WARM:-3} step_quiet "$1" "$2" "pairs@${GOPROG##*/}"
		done
	done
	python3 "$HERE/lib/report.py" summary "$OUT/results.jsonl"
	;;
trace)
	load_target "$1"
	STEP=$OUT/step.$TARGET
	rm -rf "$STEP" && mkdir -p "$STEP" && : >"$STEP/server.pids" && echo 0 0 >"$STEP/extra.ticks"
	phone_start phone_fast 0 -trace_msg -message_file "$STEP/phone.msg"
	target_start || exit 1
	RUN_PIDS+=($(<"$STEP/server.pids"))
	if [ "$TARGET" = sipp ]; then target_load 1 1; else
		target_request
		args=()
		for h in "${REQ_HEADERS[@]}"; do args+=(-header "$h"); done
		"$HERE/out/ctcdriver" -n 1 -c 1 -method "$REQ_METHOD" -url "$REQ_URL" -body "$REQ_BODY" "${args[@]}" "${REQ_ARGS[@]}"
	fi
	sleep 1.5
	finish
	tr -d '\r' <"$STEP/phone.msg" | tee "$OUT/trace.$TARGET.txt"
	;;
all)
	targets=("$@")
	[ ${#targets[@]} = 0 ] && targets=(kamailio kamailio-url sipp)
	RES=$OUT/results.jsonl
	[ -s "$RES" ] && mv "$RES" "$OUT/results.$(date +%Y%m%d-%H%M%S).jsonl"
	for ((REP = 1; REP <= ${REPS:-3}; REP++)); do
		for t in "${targets[@]}"; do
			load_target "$t"
			log "== repetition $REP: $t (load $(cut -d' ' -f1-3 /proc/loadavg))"
			find_max
			m=$MAX
			log "   $t: max $m/s"
			[ "$m" = 0 ] || WARM=6 step_quiet $((m / 2)) 20 half
			for r in ${CPU_RATES:-1000 3000 5000}; do WARM=6 step_quiet "$r" ${CPU_S:-20} "cpu@$r"; done
			mem_test
		done
	done
	python3 "$HERE/lib/report.py" summary "$RES" | tee "$OUT/summary.txt"
	;;
summary)
	python3 "$HERE/lib/report.py" summary "${1:-$OUT/results.jsonl}"
	;;
*)
	sed -n '2,10p' "$0"
	exit 2
	;;
esac
