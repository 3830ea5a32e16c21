package app

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// What the linker was given by `make build`: the tag, if there is one, and the
// revision, for the go command notes it only if it may look (-buildvcs).
var linked, linkedRevision string

// build says which program this is.
type build struct {
	version   string // "v1.2.3", a pseudo-version, or "devel"
	revision  string // of the sources, 12 digits; "" when unknown
	changed   bool   // the sources were changed since
	goVersion string // "go1.26.0"
}

// buildOf reads what the linker noted.
func buildOf() build {
	info, _ := debug.ReadBuildInfo()
	b := buildFrom(linked, info)
	if b.revision == "" {
		b.revision, b.changed = strings.CutSuffix(linkedRevision, "-dirty")
	}
	return b
}

func buildFrom(linked string, info *debug.BuildInfo) build {
	b := build{version: linked, goVersion: runtime.Version()}
	if info == nil {
		b.version = cmp.Or(b.version, "devel")
		return b
	}
	if v := info.Main.Version; b.version == "" && v != "(devel)" {
		b.version, _, _ = strings.Cut(v, "+dirty")
	}
	b.version = cmp.Or(b.version, "devel")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			b.changed = s.Value == "true"
		}
	}
	return b
}

// Version answers name, version, revision and Go release in one line.
func Version() string { return buildOf().String() }

func (b build) String() string {
	s := "sipxrest " + b.version
	if b.revision != "" && !strings.Contains(b.version, b.revision) {
		s += " " + b.revision
	}
	if b.changed {
		s += " with changes"
	}
	return fmt.Sprintf("%s (%s %s/%s)", s, b.goVersion, runtime.GOOS, runtime.GOARCH)
}
