package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Whoever adds or updates a module hands on its licence as well.
func TestNoticesNameWhatIsLinked(t *testing.T) {
	root := filepath.Join("..", "..")
	modules, err := linked(root)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range modules {
		want = append(want, m.name)
	}
	notices, err := os.ReadFile(filepath.Join(root, "NOTICES"))
	if err != nil {
		t.Fatal(err)
	}
	rest, _ := strings.CutPrefix(string(notices), introduction)
	list, _, _ := strings.Cut(rest, "\n\n")
	if got := strings.Split(list, "\n"); !slices.Equal(got, want) {
		t.Errorf("NOTICES is not current: go run ./scripts/notices\n got %q\nwant %q", got, want)
	}
	for path := range told {
		if !slices.ContainsFunc(modules, func(m *module) bool { return m.path == path }) {
			t.Errorf("%s is not linked any more: its licence is told for nothing", path)
		}
	}
}
