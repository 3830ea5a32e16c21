#!/bin/bash
# vet and staticcheck, and whether the sources are still good for macOS and Windows.
# One after the other: each has work for every core. All run, to say all at once.
. "$(dirname "$0")/lib.sh"
failed=0
export GOGC=400 # a third less work for staticcheck, which takes half a gigabyte then
# One pass sees all: no file is for builds without the tag alone, and packages whose
# tests have it hold nothing else but their documentation.
go vet -tags interop ./... || failed=1
go tool staticcheck -tags interop ./... || failed=1
# vet compiles the tests too. On Windows they may need what is not there, such as named pipes.
GOOS=darwin go vet ./... || failed=1
GOOS=windows go build ./... || failed=1
exit $failed
