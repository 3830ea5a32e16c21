#!/bin/bash
# Installs the programs that tests run against, or with, from Debian's
# packages, and only those that are missing.
. "$(dirname "$0")/lib.sh"
packages=(kamailio kamailio-extra-modules kamailio-json-modules kamailio-tls-modules kamailio-websocket-modules sip-tester baresip-core linphone-cli curl postgresql gcc libc6-dev chromium janus iproute2 nodejs bash zsh fish groff-base python3 php-cli openssl)
hint="Without them run \`make unit\`: it needs Go alone."

if ! command -v dpkg-query >/dev/null; then
	for program in kamailio sipp baresip linphonec curl chromium; do
		command -v $program >/dev/null || die "setup: $program is missing, and this is no Debian: install it by hand. $hint"
	done
	exit 0
fi

missing=()
for p in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} = 0 ]; then
	echo "setup: nothing is missing"
	exit 0
fi

echo "setup: installing ${missing[*]}"
root=()
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || die "setup: ${missing[*]} must be installed by root, and there is no sudo. $hint"
	root=(sudo)
fi
apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)
"${apt[@]}" update || die "setup: apt-get update failed. $hint"
"${apt[@]}" install --no-install-recommends "${missing[@]}" || die "setup: could not install ${missing[*]}. $hint"
