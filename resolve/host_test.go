package resolve

import "testing"

func TestNamesMayHaveUnderscores(t *testing.T) {
	for s, want := range map[string]bool{"talk_web": true, "a_b.example": true, "pbx.example": true, "[::1]": true, "a_b.1": false, "_": true,
		"a/b": false, "": false} {
		if got := IsName(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
