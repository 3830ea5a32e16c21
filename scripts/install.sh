#!/bin/bash
# Installs bin/sipxrest for systemd. Configuration that is there already stays.
# DESTDIR=dir installs into a folder for a package, and touches nothing else.
# EXAMPLES=dir, below it, is for packages: the configuration is an example there, not
# one in place, which sipxrest init writes. PROGRAM=file is another than bin/sipxrest.
. "$(dirname "$0")/lib.sh"
root=${DESTDIR:-}
program=${PROGRAM:-bin/sipxrest}
[ -x "$program" ] || die "$program is missing: run make build first"

install -D "$program" "$root/usr/bin/sipxrest"
install -D -m 644 packaging/sipxrest.sysusers "$root/usr/lib/sysusers.d/sipxrest.conf"
install -D -m 644 packaging/sipxrest.service "$root/usr/lib/systemd/system/sipxrest.service"
install -D -m 644 packaging/sipxrest-store.service "$root/usr/lib/systemd/system/sipxrest-store.service"
install -D -m 644 packaging/sipxrest.rules.yml "$root/usr/share/sipxrest/sipxrest.rules.yml"
install -D -m 644 docs/openapi.yaml "$root/usr/share/sipxrest/openapi.yaml"
install -D -m 644 -t "$root/usr/share/sipxrest/api" api/openapi.yaml api/asyncapi.yaml
for file in examples/*.* examples/*/*.*; do
	install -D -m 644 "$file" "$root/usr/share/sipxrest/$file"
done
install -D -m 644 NOTICES "$root/usr/share/sipxrest/NOTICES" # licences want to go with a binary
if [ -n "${EXAMPLES:-}" ]; then
	install -D -m 644 -t "$root/$EXAMPLES" packaging/sipxrest.yaml packaging/users.yaml
	exit
fi
[ -n "$root" ] || systemd-sysusers
etc=$root/etc/sipxrest
[ -e "$etc/sipxrest.yaml" ] || install -D -m 644 packaging/sipxrest.yaml "$etc/sipxrest.yaml"
if [ ! -e "$etc/users.yaml" ]; then
	install -D -m 640 packaging/users.yaml "$etc/users.yaml"
	[ -n "$root" ] || chgrp sipxrest "$etc/users.yaml" # it holds secrets
fi
[ -n "$root" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
echo "Now: edit /etc/sipxrest/sipxrest.yaml and users.yaml, then sipxrest check, then systemctl enable --now sipxrest"
