#!/bin/bash
# Everything, cheap first; a later part runs even when an earlier one failed, so
# that one run tells all. What CI runs.
. "$(dirname "$0")/lib.sh"
summary=() failed=0
part() {
	local t=$SECONDS rc=0
	printf '\n== %s\n' "$1"
	make --no-print-directory "$1" || rc=$?
	summary+=("$(printf '%-4s %-11s %4d s' "$([ $rc = 0 ] && echo ok || echo FAIL)" "$1" $((SECONDS - t)))")
	[ $rc = 0 ] || failed=1
	return $rc
}
finish() {
	printf '\n== summary\n'
	printf '%s\n' "${summary[@]}"
	exit $failed
}
part setup || finish
part unit || true
part interop || true
finish
