package app

import (
	"os"
	"strings"
	"testing"
)

// A key that is not in the README is one that nobody finds.
func TestTheReadmeNamesEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	for _, k := range c.keys() {
		if row := "| `" + k.name + "` | `" + variable(k.name) + "` |"; !strings.Contains(string(text), row) {
			t.Errorf("README.md has no row %s", row)
		}
	}
	_, rest, _ := strings.Cut(string(text), "\n| `domain` ")
	table, _, _ := strings.Cut(rest, "\n\n")
	if rows := 1 + strings.Count(table, "\n"); rows != len(c.keys()) {
		t.Errorf("README.md has %d keys, there are %d: one of them is gone", rows, len(c.keys()))
	}
}
