#!/bin/bash
# The tests with real peers, against the binary of the working tree, and those
# over a bad network, in one process.
. "$(dirname "$0")/lib.sh"
for program in kamailio sipp baresip linphonec curl chromium; do
	command -v $program >/dev/null || PATH=$PATH:/usr/sbin command -v $program >/dev/null ||
		die "interop: $program is missing: run \`make setup\`, or only \`make unit\`, which needs Go alone"
done
export PATH=$PATH:/usr/sbin # where Debian has kamailio, for users who are not root
# The service itself runs with the race detector, and a race that it sees fails the test.
race=
if has_race; then
	export CGO_ENABLED=1 LAB_RACE=1
	race=-race
fi
failed=0
# The thousand calls over a bad network wait most of their time: meanwhile.
chaos=$(mktemp)
trap 'rm -f "$chaos"' EXIT
go test -tags interop $race -count=1 -timeout 15m "$@" ./cmd/sipxrest/chaos/ >"$chaos" 2>&1 &
go test -tags interop -count=1 -timeout 15m -parallel 4 "$@" ./cmd/sipxrest/interop/ || failed=1
wait $! || failed=1
cat "$chaos"
exit $failed
