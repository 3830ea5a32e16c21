# Sourced by the other scripts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
	echo "$*" >&2
	exit 1
}

# The race detector needs cgo, which needs a C compiler and the C library's headers.
has_race() {
	CGO_ENABLED=1 go build -race runtime/cgo 2>/dev/null
}
