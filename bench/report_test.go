// Package bench holds what measures the service under load; its scripts are not Go.
package bench

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The table at the end of cluster.sh, of figures as its steps leave them and of what `go test -v` says.
func TestTableOfSeveralNodes(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed (make setup does it)")
	}
	none := filepath.Join(t.TempDir(), "none")
	for golden, from := range map[string][2]string{
		"table.golden": {"testdata/results.jsonl", "testdata/takeover.txt"},
		"none.golden":  {none, none},
	} {
		got, err := exec.Command(python, "lib/report.py", "cluster", from[0], from[1]).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, got)
		}
		file := filepath.Join("testdata", golden)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || string(want) != string(got) {
			t.Errorf("%s, %v:\n%s", file, err, got)
		}
	}
}
