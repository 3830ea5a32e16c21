package api

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/events.md has each type of events, and docs/api-keys.md each scope.
func TestPagesHaveEveryTypeAndScope(t *testing.T) {
	var types, scopes []string
	for _, e := range eventTypes {
		types = append(types, string(e))
	}
	for _, s := range Scopes {
		scopes = append(scopes, string(s))
	}
	for _, c := range []struct {
		file, from, to, cell string
		want                 []string
	}{
		{"../docs/events.md", "## An event", "## After", "[a-z]+\\.[a-z_]+", types},
		{"../docs/api-keys.md", "| scope |", "\n\n", "[a-z]+(?::[a-z]+)?", scopes},
	} {
		text, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		_, part, _ := strings.Cut(string(text), c.from)
		part, _, _ = strings.Cut(part, c.to)
		var got []string
		for line := range strings.Lines(part) {
			if strings.HasPrefix(line, "| `") {
				first, _, _ := strings.Cut(line[1:], "|")
				for _, m := range regexp.MustCompile("`("+c.cell+")`").FindAllStringSubmatch(first, -1) {
					got = append(got, m[1])
				}
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s has\n%v\nwant\n%v", c.file, got, c.want)
		}
	}
}
