package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each limit that can be set is in the list of limits, and each constant that is
// named there is in the code.
func TestTheListOfLimitsIsTrue(t *testing.T) {
	const root = "../../.."
	text, err := os.ReadFile(filepath.Join(root, "docs/limits.md"))
	more, moreErr := os.ReadFile(filepath.Join(root, "docs/limits-api.md"))
	if err := errors.Join(err, moreErr); err != nil {
		t.Fatal(err)
	}
	text = append(text, more...)
	var c Config
	for _, k := range c.keys() {
		if strings.HasPrefix(k.Name, "limits.") && !strings.Contains(string(text), "| `"+k.Name+"`") && !strings.Contains(string(text),
			" `"+k.Name+"`") {
			t.Errorf("docs/limits.md does not name %s", k.Name)
		}
	}
	named := regexp.MustCompile("`([a-z/]+)\\.([a-zA-Z]+)`").FindAllStringSubmatch(string(text), -1)
	found := 0
	packages := map[string]map[string]bool{}
	for _, m := range named {
		if m[1] == "limits" || m[0] == "`trace.bytes`" { // keys, not constants
			continue
		}
		if packages[m[1]] == nil {
			packages[m[1]] = constantsIn(t, folderOf(t, root, m[1]))
		}
		if found++; !packages[m[1]][m[2]] {
			t.Errorf("docs/limits.md names %s.%s, which there is not", m[1], m[2])
		}
	}
	if found < 30 {
		t.Errorf("docs/limits.md names %d constants only", found)
	}
}

// constantsIn are the names that the files of a folder give a value.
func constantsIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(folder, "*.go"))
	names := map[string]bool{}
	value := regexp.MustCompile(`(?m)^(?:\t|const )([a-zA-Z]+)\s+=`)
	for _, f := range files {
		code, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range value.FindAllSubmatch(code, -1) {
			names[string(m[1])] = true
		}
	}
	return names
}

// folderOf finds a package by its name, or by the end of its path.
func folderOf(t *testing.T, root, name string) (found string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, name)); err == nil {
		return filepath.Join(root, name)
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && found == "" && strings.HasSuffix(filepath.ToSlash(path), "/"+name) {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("there is no package %s: %v", name, err)
	}
	return found
}

func TestLimitsThatCannotBeAreRefused(t *testing.T) {
	for key, set := range map[string]func(*Limits){
		"limits.calls-per-user":              func(l *Limits) { l.CallsPerUser = -1 },
		"limits.call-rate-per-user":          func(l *Limits) { l.CallRatePerUser = -1 },
		"limits.call-rate":                   func(l *Limits) { l.CallRate = 1_000_001 },
		"limits.call-rate-per-pair":          func(l *Limits) { l.CallRatePerPair = -1 },
		"limits.sip-rate":                    func(l *Limits) { l.SIPRate = -1 },
		"limits.sip-rate-per-address":        func(l *Limits) { l.SIPRatePerAddress = -1 },
		"limits.dialog-rate":                 func(l *Limits) { l.DialogRate = -1 },
		"limits.sip-connections-per-address": func(l *Limits) { l.SIPConnectionsPerAddress = 4097 },
		"limits.connections-per-address":     func(l *Limits) { l.ConnectionsPerAddress = -1 },
		"limits.record-bytes":                func(l *Limits) { l.RecordBytes = 0 },
	} {
		c := Default()
		c.Domain, c.Users = "pbx.example", []string{"users.yaml"}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		set(&c.Limits)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", key, err)
		}
	}
}
