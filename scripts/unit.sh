#!/bin/bash
# gofmt, the linters, the builds for other systems, and every test that needs no
# other program, with the race detector.
. "$(dirname "$0")/lib.sh"
failed=0 # a blank too many must not hide what the tests say
scripts/gofmt.sh || failed=1
scripts/lint.sh || failed=1
race=-race
if ! has_race; then
	race=
	echo "unit: no C compiler (make setup installs gcc): these tests run WITHOUT the race detector" >&2
fi
CGO_ENABLED=$([ -n "$race" ] && echo 1 || echo 0) go test $race -timeout 15m ./... || failed=1
# What repeats the same flows in many ways does a part of them with the detector:
# here are all.
[ -z "$race" ] || go test -run 'Surviv|LateTimers|BadNetwork|Storm' -timeout 15m ./sipflow/... || failed=1
exit $failed
