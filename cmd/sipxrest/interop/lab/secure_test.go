package lab

import (
	"os"
	"strings"
	"testing"
)

// What docs/browsers.md tells to put into Kamailio's configuration is what the lab's
// has.
func TestKamailioOfThePageIsThatOfTheLab(t *testing.T) {
	var have string
	for _, file := range []string{"secure.go", "kamailio.cfg"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		have += string(text)
	}
	page, err := os.ReadFile("../../../../docs/browsers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(page), "```\nloadmodule")
	block, _, closed := strings.Cut("loadmodule"+block, "```")
	if !ok || !closed {
		t.Fatal("docs/browsers.md has no block for Kamailio")
	}
	for line := range strings.Lines(block) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "# ...") && !strings.Contains(have, line) {
			t.Errorf("the lab's configuration has no line %q", line)
		}
	}
}
