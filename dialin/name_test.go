package dialin

import (
	"strings"
	"testing"
)

func TestNamesOfCallers(t *testing.T) {
	for _, c := range []struct {
		name, number string
		vouched      bool
		want, shown  string
	}{
		{"Alice", "+493055500200", false, "Alice", "+493055500***"},
		{"", "+493055500200", false, "+493055500***", "+493055500***"},
		{"", "+493055500200", true, "+493055500200", "+493055500200"},
		{"", "200", false, "Phone", ""},
		{"", "+12", false, "Phone", ""},
		{"", "5000", false, "5***", "5***"},
		{"", "", true, "Phone", ""},
		{"", "alice", true, "Phone", ""},
		{"", "+49305550020a", false, "Phone", ""},
		{"\x00\u202e\n", "", false, "Phone", ""},
		{strings.Repeat("ä", 100), "", false, strings.Repeat("ä", maxName), ""},
	} {
		shown := shownNumber(c.number, c.vouched)
		if name := displayName(c.name, shown); name != c.want || shown != c.shown {
			t.Errorf("%q, %q, %v: %q, %q", c.name, c.number, c.vouched, name, shown)
		}
	}
}
