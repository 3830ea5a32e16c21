#!/bin/bash
# Makes what a release has, in bin/release: static programs for each system, the
# Debian packages, an SBOM for each program, and checksums of all. Two runs over the
# same sources by the same Go release give the same bytes.
#   VERSION=1.2.3 scripts/release.sh   default: the tag, or 0.0.0 with the commit's time
. "$(dirname "$0")/lib.sh"
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.48.0
sbom=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
systems=${SYSTEMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64}

# Everything that has a time has that of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C
revision=$(git describe --always --dirty --abbrev=12 --exclude '*')
tag=${VERSION:+v$VERSION}
tag=${tag:-$(git describe --tags --exact-match 2>/dev/null || true)}
version=${tag#v}
version=${version:-0.0.0~$(date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).${revision%-dirty}}
[[ $version =~ ^[0-9][0-9A-Za-z.+~-]*$ ]] || die "VERSION=$version: write a number such as 1.2.3"
build=sipxrest/cmd/sipxrest/version

out=bin/release
rm -rf "$out"
mkdir -p "$out/tools" "$out/stage"
GOBIN=$PWD/$out/tools go install "$nfpm"
GOBIN=$PWD/$out/tools go install "$sbom"
umask 022

# The pages and completions come of the program, whatever system it is for.
go build -trimpath -ldflags "-X '$build.linked=v$version'" -o "$out/tools/sipxrest" ./cmd/sipxrest
"$out/tools/sipxrest" man "$out/stage/man1"
for page in "$out"/stage/man1/*.1; do gzip -9n "$page"; done
for shell in bash zsh fish; do
	"$out/tools/sipxrest" completion $shell >"$out/stage/$shell"
done

for system in $systems; do
	os=${system%/*} arch=${system#*/} suffix=
	[ "$os" != windows ] || suffix=.exe
	name=sipxrest_${version}_${os}_$arch
	echo "$name"
	CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X '$build.linked=v$version' -X '$build.linkedRevision=$revision'" -o "$out/$name$suffix" ./cmd/sipxrest
	"$out/tools/cyclonedx-gomod" bin -json -noserial -notimestamp -version "v$version" -output "$out/$name.cdx.json" "$out/$name$suffix" 2>/dev/null
	[ "$os" = linux ] || continue

	stage=$out/stage/$arch doc=usr/share/doc/sipxrest
	DESTDIR=$stage PROGRAM=$out/$name EXAMPLES=$doc/examples scripts/install.sh >/dev/null
	install -D -m 644 -t "$stage/usr/share/man/man1" "$out"/stage/man1/*.gz
	install -D -m 644 "$out/stage/bash" "$stage/usr/share/bash-completion/completions/sipxrest"
	install -D -m 644 "$out/stage/zsh" "$stage/usr/share/zsh/vendor-completions/_sipxrest"
	install -D -m 644 "$out/stage/fish" "$stage/usr/share/fish/vendor_completions.d/sipxrest.fish"
	{
		printf 'sipxrest is licensed as follows; the licences of modules within are in\n/usr/share/sipxrest/NOTICES.\n\n'
		cat LICENSE
	} >"$stage/$doc/copyright"
	gzip -9nc CHANGELOG.md >"$stage/$doc/changelog.gz"
	install -D -m 644 "$out/$name.cdx.json" "$stage/usr/share/sipxrest/sipxrest.cdx.json"
	chmod 644 "$stage/$doc"/{copyright,changelog.gz}
	find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	ARCH=$arch VERSION=$version STAGE=$stage \
		MAINTAINER="${MAINTAINER:-sipxrest <sipxrest@localhost>}" HOMEPAGE=${HOMEPAGE:-https://localhost/sipxrest} \
		"$out/tools/nfpm" package --config packaging/nfpm.yaml --packager deb --target "$out/sipxrest_${version}_$arch.deb" >/dev/null
done
rm -rf "$out/stage" "$out/tools"
(cd "$out" && sha256sum -- * >SHA256SUMS)
echo "Made in $out: $(ls "$out" | wc -l) files, version $version"
