package event

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// firstCells returns what stands in backticks in the first cells of tables of a part
// of a document.
func firstCells(t *testing.T, file, from, to string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(text), from)
	part, _, ends := strings.Cut(part, to)
	if !ok || !ends {
		t.Fatalf("%s has no part from %q to %q", file, from, to)
	}
	for line := range strings.Lines(part) {
		if cell, found := strings.CutPrefix(line, "| `"); found {
			cell, _, _ = strings.Cut("`"+cell, " |")
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				all = append(all, m[1])
			}
		}
	}
	slices.Sort(all)
	return all
}

// docs/call-ends.md has each reason, and no other.
func TestThePageOfEndsHasEveryReason(t *testing.T) {
	got := firstCells(t, "../docs/call-ends.md", "## Reasons", "## Find")
	if want := slices.Sorted(maps.Keys(reasons)); !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nwant\n%s", strings.Join(got, " "), strings.Join(want, " "))
	}
}
