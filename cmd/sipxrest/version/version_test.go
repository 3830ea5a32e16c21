package version

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestTheVersionSaysWhichSources(t *testing.T) {
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}, {Key: "vcs.modified", Value: "true"}}
	for _, tt := range []struct {
		name, linked string
		info         *debug.BuildInfo
		want         string
	}{
		{"a tag", "v1.2.3", &debug.BuildInfo{Settings: vcs[:1]}, "sipxrest v1.2.3 0123456789ab ("},
		{"no tag", "", &debug.BuildInfo{Main: debug.Module{Version: "v0.0.0-20260101000000-0123456789ab+dirty"}, Settings: vcs},
			"sipxrest v0.0.0-20260101000000-0123456789ab with changes ("},
		{"go install", "", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "sipxrest v1.2.3 ("},
		{"go run", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "sipxrest devel ("},
		{"sources without git", "", nil, "sipxrest devel ("},
	} {
		if got := buildFrom(tt.linked, tt.info).String(); !strings.HasPrefix(got, tt.want) || !strings.Contains(got, "go1.") {
			t.Errorf("%s: %q, want %q…", tt.name, got, tt.want)
		}
	}
}
