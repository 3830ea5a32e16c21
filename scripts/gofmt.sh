#!/bin/bash
# Fails and names the files that gofmt would change.
. "$(dirname "$0")/lib.sh"
bad=$(gofmt -l .)
[ -z "$bad" ] || die "not formatted (gofmt -w them):"$'\n'"$bad"
