#!/bin/bash
# Fails and names the files that gofmt would change.
. "$(dirname "$0")/lib.sh"
files=$(git ls-files --cached --others --exclude-standard '*.go' | while read -r f; do [ ! -e "$f" ] || echo "$f"; done)
bad=$(gofmt -l $files)
[ -z "$bad" ] || die "not formatted (gofmt -w them):"$'\n'"$bad"
