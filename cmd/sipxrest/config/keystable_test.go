package config

import (
	"os"
	"strings"
	"testing"
)

// A key that is not in the table is one that nobody finds.
func TestThePageOfKeysNamesEveryKey(t *testing.T) {
	const page = "docs/configuration.md"
	text, err := os.ReadFile("../../../" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begins := strings.Cut(string(text), "<!-- keys: begin -->\n")
	table, _, ends := strings.Cut(rest, "\n<!-- keys: end -->")
	if !begins || !ends {
		t.Fatalf("%s has no marks where its table of keys begins and ends", page)
	}
	var c Config
	for _, k := range c.keys() {
		if row := "\n| `" + k.Name + "` | `" + variable(k.Name) + "` |"; !strings.Contains(table, row) {
			t.Errorf("%s has no row %s", page, row[1:])
		}
	}
	if rows := strings.Count(table, "\n| `"); rows != len(c.keys()) {
		t.Errorf("%s has %d keys, there are %d: one of them is gone", page, rows, len(c.keys()))
	}
}
