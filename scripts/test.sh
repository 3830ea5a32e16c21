#!/bin/bash
# Everything, cheap first; a later part runs even when an earlier one failed, so
# that one run tells all. What CI runs. Most of interop waits most of its time: it runs
# beside unit, and what it says comes after it. The rest, with sound, has the machine
# for itself.
. "$(dirname "$0")/lib.sh"
summary=() failed=0
# run makes a part and writes beside its name how long it took and whether it failed.
run() { # part folder [name]
	local t=$SECONDS rc=0
	make --no-print-directory "$1" || rc=$?
	echo "$rc $((SECONDS - t))" >"$2/${3:-$1}"
}
# told takes a part that has run into the summary.
told() { # part folder
	local rc seconds
	read -r rc seconds <"$2/$1"
	summary+=("$(printf '%-4s %-11s %4d s' "$([ "$rc" = 0 ] && echo ok || echo FAIL)" "$1" "$seconds")")
	[ "$rc" = 0 ] || failed=1
	return "$rc"
}
finish() {
	printf '\n== summary\n'
	printf '%s\n' "${summary[@]}"
	exit $failed
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'trap - INT TERM; kill 0' INT TERM # interop would go on
printf '\n== setup\n'
run setup "$dir"
told setup "$dir" || finish
INTEROP=early run interop "$dir" >"$dir/out" 2>&1 &
printf '\n== unit\n'
run unit "$dir"
told unit "$dir" || true
wait
printf '\n== interop\n'
cat "$dir/out"
told interop "$dir" || true
printf '\n== interop, with sound\n'
INTEROP=late run interop "$dir" sound
told sound "$dir" || true
finish
