package order

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestANameOfARequestIsTakenIfItIsFit(t *testing.T) {
	for given, want := range map[string]string{
		"": "", "a.B_9-z": "a.B_9-z", strings.Repeat("x", 64): strings.Repeat("x", 64), strings.Repeat("x", 65): "",
		"a b": "", "a\r\nb": "", "é": "", "a/b": "",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["X-Request-Id"] = []string{given}
		if got := RequestID(r); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}
