package config

import (
	"fmt"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
)

// An alias of aliases is short to write and long to read, wherever it stands.
func TestAliasesInTheConfigurationAreBounded(t *testing.T) {
	many := strings.Repeat("a, ", 5000)
	for name, text := range map[string]string{
		"policies": "policies:\n  a: &a [{allow: &l [" + many + "]}]\n" + func() string {
			var b strings.Builder
			for i := range 5000 {
				fmt.Fprintf(&b, "  p%d: *a\n", i)
			}
			return b.String()
		}(),
		"trunks": "trusted: &l [" + many + "]\ndispatch: {trunks: [" + strings.Repeat("{name: a, sources: *l}, ", 5000) + "]}\n",
	} {
		_, err := Load(Source{File: apptest.Write(t, t.TempDir(), "sipxrest.yaml", apptest.Minimal+text)})
		if err == nil || !strings.Contains(err.Error(), "aliases (*name) stand for more than") || len(err.Error()) > 1000 {
			t.Errorf("%s: %.1000v", name, err)
		}
	}
}
