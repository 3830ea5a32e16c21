#!/bin/bash
# Fails and names the files that gofmt would change, and lines of tests that are
# longer than 140 characters, a tab being one.
. "$(dirname "$0")/lib.sh"
bad=$(gofmt -l .)
[ -z "$bad" ] || die "not formatted (gofmt -w them):"$'\n'"$bad"
long=$(LC_ALL=C.UTF-8 grep -rnE --include='*_test.go' '.{141}' . | cut -d: -f1-2) || true
[ -z "$long" ] || die "longer than 140 characters:"$'\n'"$long"
