// Package version says which build of the program this is.
package version

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

// Build says which program this is.
type Build struct {
	Version   string // "v1.2.3", a pseudo-version, or "devel"
	Revision  string // of the sources, 12 digits; "" when unknown
	changed   bool   // the sources were changed since
	GoVersion string // "go1.26.0"
}

// Current reads what the linker noted.
func Current() Build {
	info, _ := debug.ReadBuildInfo()
	b := buildFrom(linked, info)
	if b.Revision == "" {
		b.Revision, b.changed = strings.CutSuffix(linkedRevision, "-dirty")
	}
	return b
}

func buildFrom(linked string, info *debug.BuildInfo) Build {
	b := Build{Version: linked, GoVersion: runtime.Version()}
	if info == nil {
		b.Version = cmp.Or(b.Version, "devel")
		return b
	}
	if v := info.Main.Version; b.Version == "" && v != "(devel)" {
		b.Version, _, _ = strings.Cut(v, "+dirty")
	}
	b.Version = cmp.Or(b.Version, "devel")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			b.changed = s.Value == "true"
		}
	}
	return b
}

// String returns name, version, revision and Go release in one line.
func String() string { return Current().String() }

func (b Build) String() string {
	s := "sipxrest " + b.Version
	if b.Revision != "" && !strings.Contains(b.Version, b.Revision) {
		s += " " + b.Revision
	}
	if b.changed {
		s += " with changes"
	}
	return fmt.Sprintf("%s (%s %s/%s)", s, b.GoVersion, runtime.GOOS, runtime.GOARCH)
}
