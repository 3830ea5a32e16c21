package check

import (
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
)

func TestCheckOfTheDatabaseForRecords(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	for dsn, want := range map[string]string{
		"postgres://cdr:hunter2@127.0.0.1:1/calls?connect_timeout=2": "problem call records cdr.postgres: PostgreSQL " +
			"calls at 127.0.0.1 port 1: ",
		"postgres://cdr:hunter2@:no:port/calls": "cdr.postgres: this is no address of a PostgreSQL database: write postgres://",
	} {
		ok, out := checked(t, apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+`
data-dir: data
sip: {listen: ["udp:127.0.0.1:0"], outbound-proxy: ["sip:127.0.0.1:1"]}
cdr: {postgres: "`+dsn+`"}
`))
		if wants(t, out, want); ok || strings.Contains(out, "hunter2") {
			t.Errorf("%v, %s", ok, out)
		}
	}
}
