#!/bin/bash
# gofmt, the linters, the builds for other systems, and every test that needs no
# other program, with the race detector.
. "$(dirname "$0")/lib.sh"
failed=0 # a blank too many must not hide what the tests say
scripts/gofmt.sh || failed=1
# Many tests wait: meanwhile the linters work.
lint=$(mktemp)
trap 'rm -f "$lint"' EXIT
scripts/lint.sh >"$lint" 2>&1 &
linters=$!
race=-race
if ! has_race; then
	race=
	echo "unit: no C compiler (make setup installs gcc): these tests run WITHOUT the race detector" >&2
fi
# What `go test` has vet look for is a part of what the linters do.
CGO_ENABLED=$([ -n "$race" ] && echo 1 || echo 0) go test $race -vet=off -timeout 15m ./... || failed=1
# What repeats the same flows in many ways does a part of them with the detector:
# here are all.
[ -z "$race" ] || go test -vet=off -run 'Surviv|LateTimers|BadNetwork|Storm|Flood' -timeout 15m ./sipflow/... || failed=1
[ -z "$race" ] || go test -vet=off -run 'AreCutMissNothing|AtRandomEndOnce|Dies500Times' -timeout 15m ./event || failed=1
[ -z "$race" ] || go test -vet=off -run 'RandomHistories' -timeout 15m ./cluster || failed=1
# Sound in real time, calls of many minutes, and allocations that the detector makes.
[ -z "$race" ] || go test -vet=off -run "$(echo 'DelayDoesNotGrow|EncryptedFramesAllocateNothing|APhoneAndTheConversation|PhonesHearEachOther' \
	'APhoneHoldsTheCall|TheMediaServerIsRestarted|TheSignalingSessionIsRenewed|TheCallIsEndedForEveryone|APhoneThatMayNotSpeak' \
	'PhonesThatCannotBeHeard' | tr ' ' '|')" -timeout 15m ./media ./media/mix ./dialout || failed=1
if ! wait $linters; then
	failed=1
	echo "unit: the linters have found:"
fi
cat "$lint"
exit $failed
