package app

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// edges lists which of our packages each package may import: downward only.
// A package below another ("sipflow/wire") may import what that one may unless
// it is listed itself, and is not seen from elsewhere. "*" is all but cmd. The
// commands themselves, and bench, may import all.
var edges = map[string][]string{
	"cmd/sipxrest/apptest": {},
	"cmd/sipxrest/version": {},
	"cmd/sipxrest/config": {
		"cmd/sipxrest/version",
		"api",
		"cluster/store",
		"event",
		"talk",
		"talkroom",
		"dialout",
		"dialin",
		"dispatch",
		"phone",
		"media",
		"media/prompts",
		"media/sfu",
		"restauth",
		"restauth/imdb",
		"sipflow",
		"resolve",
		"policy",
		"schema",
		"internal/limit",
		"internal/setting",
		"internal/trace",
		"internal/fault",
	},
	"cmd/sipxrest/web":   {"cmd/sipxrest/config", "internal/limit"},
	"cmd/sipxrest/app":   {"cmd/sipxrest/version", "cmd/sipxrest/config", "cmd/sipxrest/web", "*"},
	"cmd/sipxrest/check": {"cmd/sipxrest/app", "cmd/sipxrest/config", "cmd/sipxrest/web", "*"},

	"event": {"sipflow", "internal/boundary", "internal/datafile", "internal/fault", "internal/limit", "internal/webhook"},
	"api": {"event", "order", "restauth", "sipflow", "cluster", "internal/capture", "internal/datafile", "internal/digest",
		"internal/fault", "internal/forward", "internal/limit", "internal/watch",
		"resolve", "policy"},
	"client":         {},
	"callcontroller": {"sipflow", "restauth", "schema", "order", "cluster", "internal/forward"},
	"console":        {},
	"order":          {"policy", "resolve", "restauth", "sipflow", "sipflow/uri", "cluster"},
	"dialout": {"talk", "talkroom", "sipflow", "media", "restauth", "order", "cluster", "resolve", "internal/fault", "internal/forward",
		"internal/limit"},
	"dialin": {"talk", "talkroom", "media", "media/attendant", "media/prompts", "sipflow", "internal/boundary", "internal/fault",
		"internal/limit"},
	"cluster":            {"internal/boundary"},
	"cluster/natsengine": {"cluster", "internal/boundary"},
	"event/natslog":      {"event", "cluster", "cluster/natsengine"},
	"cluster/store":      {},
	"dispatch": {"media", "media/attendant", "media/prompts", "sipflow", "sipflow/uri", "resolve", "restauth", "internal/fault",
		"internal/limit", "internal/setting", "internal/watch", "internal/webhook"},
	"phone":           {"media", "sipflow", "sipflow/uri", "resolve", "restauth", "internal/datafile", "internal/limit"},
	"talk":            {"internal/boundary"},
	"talkroom":        {"talk", "media", "media/mix", "media/sfu", "internal/boundary"},
	"media":           {"internal/boundary"},
	"media/attendant": {"media", "sipflow", "internal/boundary"},
	"media/prompts":   {"media"},
	"media/mix":       {"internal/boundary"},
	"media/sfu":       {"media", "internal/boundary"},
	"restauth/imdb":   {},
	"restauth": {"restauth/imdb", "schema", "resolve", "policy", "internal/digest", "internal/limit", "internal/setting",
		"internal/watch"},
	"sipflow":           {"resolve", "internal/digest", "internal/fault", "internal/limit", "internal/metrics", "internal/overload"},
	"resolve":           {"internal/limit"},
	"policy":            {"internal/fault"},
	"schema":            {},
	"internal/await":    {},
	"internal/boundary": {},
	"internal/capture":  {},
	"internal/datafile": {},
	"internal/fault":    {},
	"internal/digest":   {},
	"internal/forward":  {},
	"internal/limit":    {},
	"internal/metrics":  {},
	"internal/overload": {"internal/limit"},
	"internal/setting":  {"internal/fault"},
	"internal/trace":    {"sipflow"},
	"internal/watch":    {},
	"internal/webhook":  {"resolve", "internal/limit"},
}

// testOnly are packages that only tests and cmd import.
var testOnly = []string{"sipflow/siptest", "cluster/fakeengine", "cluster/clustertest", "talk/talktest", "media/opustest",
	"docs/docstest", "cmd/sipxrest/apptest"}

func TestImportsPointDownward(t *testing.T) {
	const module = "sipxrest/"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		from := strings.TrimPrefix(pkg.ImportPath, module)
		_, listed := edges[from]
		if !listed && !slices.Contains(testOnly, from) && (strings.HasPrefix(from, "cmd/") || strings.HasPrefix(from, "bench/")) {
			continue
		}
		for _, imported := range pkg.Imports {
			if to, ours := strings.CutPrefix(imported, module); ours && !allowed(from, to) {
				t.Errorf("%s must not import %s", from, to)
			}
		}
	}
	if seen < 5 {
		t.Errorf("go list answered %d packages only", seen)
	}
}

// The page of layers says what the table says.
func TestThePageOfLayersIsTheEdgeTable(t *testing.T) {
	text, err := os.ReadFile("../../../docs/development.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	page := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(strings.Trim(line, "|\n"), " | "); len(cells) == 3 {
			page[strings.Trim(cells[0], " `")] = cells[2]
		}
	}
	for pkg, may := range edges {
		var said []string
		for _, m := range quoted.FindAllStringSubmatch(page[pkg], -1) {
			said = append(said, m[1])
		}
		if page[pkg] == "" || !slices.Equal(said, may) {
			t.Errorf("docs/development.md says that %s may import %q, not %q", pkg, said, may)
		}
	}
}

// allowed says whether package from may import package to.
func allowed(from, to string) bool {
	family, below, _ := strings.Cut(from, "/")
	if family == "internal" { // a drawer of packages, not one
		below, _, _ = strings.Cut(below, "/")
		family += "/" + below
	}
	if family == "cmd" { // each of its packages is a room of its own
		family = from
	}
	may, known := edges[from]
	if !known {
		may, known = edges[family]
	}
	if !known {
		return false // a new package: give it a line in edges, and house rules a thought
	}
	within := func(pkg, list string) bool { return pkg == list || strings.HasPrefix(pkg, list+"/") }
	isTest := func(pkg string) bool {
		return slices.ContainsFunc(testOnly, func(l string) bool { return within(pkg, l) })
	}
	switch {
	case isTest(to):
		return isTest(from)
	case isTest(from):
		return within(to, family) || slices.Contains(may, to)
	case within(to, family):
		return !within(from, to) || slices.Contains(edges[from], to) // its own parent only where it is listed
	}
	return slices.Contains(may, to) || slices.Contains(may, "*") && !strings.HasPrefix(to, "cmd/")
}

func TestTheEdgeTableRefusesUpwardImports(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"callcontroller", "sipflow", true},
		{"callcontroller", "internal/watch", false},
		{"sipflow", "callcontroller", false},
		{"sipflow", "sipflow/wire", true},
		{"sipflow/wire", "sipflow", false},
		{"sipflow", "sipflow/siptest", false},
		{"sipflow/siptest", "sipflow", true},
		{"schema", "resolve", false},
		{"callcontroller", "sipflow/wire", false},
		{"elsewhere", "schema", false},
		{"dialout", "talk", true},
		{"media/prompts", "media", true},
		{"media/prompts", "sipflow", false},
		{"talk", "sipflow", false},
		{"talk", "talk/talktest", false},
		{"internal/limit", "resolve", false},
		{"internal/limit", "internal/watch", false},
		{"cmd/sipxrest/config", "cmd/sipxrest/web", false},
		{"cmd/sipxrest/config", "dispatch", true},
		{"cmd/sipxrest/web", "phone", false},
		{"cmd/sipxrest/app", "phone", true},
		{"cmd/sipxrest/app", "cmd/sipxrest/check", false},
		{"cmd/sipxrest/app", "cmd/sipxrest/apptest", false},
	} {
		if got := allowed(tt.from, tt.to); got != tt.want {
			t.Errorf("%s importing %s: allowed %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}
