package restauth

import (
	"net/http"
	"strings"
	"testing"
)

func TestTheClaimedUserIsReadFromTheAuthorization(t *testing.T) {
	digest := `Digest username="201", realm="r", nonce="n", uri="/dialout", response="x"`
	for _, tt := range []struct {
		name  string
		given []string
		want  string
	}{
		{"none", nil, ""},
		{"basic", []string{"Basic MjAxOjEyMw=="}, "201"},
		{"digest", []string{digest}, "201"},
		{"two", []string{digest, digest}, ""},
		{"malformed", []string{"Digest username"}, ""},
		{"too long", []string{digest + strings.Repeat(" ", maxAuthorization)}, ""},
		{"another scheme", []string{"Bearer 201"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Authorization": tt.given}}
			if got := Claim(r); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
