#!/bin/bash
# vet and staticcheck, and whether the sources are still good for macOS and Windows.
# One after the other: each has work for every core. All run, to say all at once.
. "$(dirname "$0")/lib.sh"
failed=0
interop=(-tags interop ./cmd/sipxrest/interop/... ./cmd/sipxrest/chaos/)
go vet ./... || failed=1
go vet "${interop[@]}" || failed=1
go tool staticcheck ./... || failed=1
go tool staticcheck "${interop[@]}" || failed=1
# vet compiles the tests too. On Windows they may need what is not there, such as named pipes.
GOOS=darwin go vet ./... || failed=1
GOOS=windows go build ./... || failed=1
exit $failed
