#!/bin/bash
# The tests with real peers, against the binary of the working tree, and those
# over a bad network, in one process. Those whose sound is judged in real time, with
# several browsers, come after the others: INTEROP=early or late is one of both.
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
failed=0 late='InTalk|ToTalk|Janus|Console|WithoutAGap'
peers() { go test -tags interop -count=1 -timeout 15m "$@" ./cmd/sipxrest/interop/ || failed=1; }
if [ "${INTEROP:-early}" = early ]; then
	# The thousand calls over a bad network wait most of their time: meanwhile.
	chaos=$(mktemp)
	trap 'rm -f "$chaos"' EXIT
	go test -tags interop $race -count=1 -timeout 15m "$@" ./cmd/sipxrest/chaos/ >"$chaos" 2>&1 &
	peers -parallel 4 -skip "$late" "$@"
	wait $! || failed=1
	cat "$chaos"
fi
if [ "${INTEROP:-late}" = late ]; then
	# Unit tests have the same sound with the race detector. Here it would make clocks so
	# late that the service has fewer participants decoded, as it should.
	export LAB_RACE=
	if [ $# = 0 ]; then peers -parallel 2 -run "$late"; elif [[ "$*" =~ ($late) ]]; then peers -parallel 2 "$@"; fi
fi
exit $failed
