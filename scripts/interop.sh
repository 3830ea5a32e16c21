#!/bin/bash
# The tests with real peers, against the binary of the working tree.
. "$(dirname "$0")/lib.sh"
for program in kamailio sipp baresip curl; do
	command -v $program >/dev/null || PATH=$PATH:/usr/sbin command -v $program >/dev/null ||
		die "interop: $program is missing: run \`make setup\`, or only \`make unit\`, which needs Go alone"
done
export PATH=$PATH:/usr/sbin # where Debian has kamailio, for users who are not root
# The service itself runs with the race detector, and a race that it sees fails the test.
if has_race; then
	export CGO_ENABLED=1 LAB_RACE=1
fi
go test -tags interop -count=1 -timeout 5m -parallel 4 "$@" ./cmd/sipxrest/interop/
