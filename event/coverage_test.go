package event

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// endWords are the words in golden files that say why something ended: as JSON has it, and as
// lines for people to read do. Headings begin with #, and are skipped.
var endWords = regexp.MustCompile(`(?m)^#.*$|"reason":"(\w+)"|(\w+) by \w+`)

// Each reason has been provoked from outside at least once: by phones, by a client, by
// what a door is asked for, or by a restart. What a test of this package tells the bus
// does not count.
func TestEachReasonWasProvoked(t *testing.T) {
	files := []string{filepath.Join("..", "api", "testdata", "ends.golden")}
	doors, err := filepath.Glob(filepath.Join("..", "cmd", "sipxrest", "app", "testdata", "doors", "*.golden"))
	if err != nil || len(doors) == 0 {
		t.Fatalf("there are no golden files of doors: %v", err)
	}
	seen := map[string]bool{}
	for _, file := range append(files, doors...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range endWords.FindAllStringSubmatch(string(text), -1) {
			seen[m[1]+m[2]] = true
		}
	}
	for reason := range reasons {
		// The loss of a node takes several: it is provoked where there are processes.
		if !seen[reason] && reason != "node_lost" {
			t.Errorf("no golden file has an end for the reason %s", reason)
		}
	}
}
