package check

import (
	"bytes"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
)

func TestCheckTellsThePolicies(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "note     policy        none: every user may dial every number"},
		{"policy: local-only", "ok       policy        local-only for everybody"},
		{"policy: no-premium", "dial.country is not set"},
		{`policy-users: {"201": no-premium}`, "policy no-premium refuses numbers without a country code"},
		{`policy-users: {"201": local-only}`, "note     policy        1 user with one of their own; all others may dial every number"},
		{"policy: no-premium\ndial: {country: de}\npolicy-users: {bob: local-only, eve: unrestricted}",
			"ok       policy        no-premium for everybody but 1 user with others"},
		{"policies: {staff: [{deny: [premium]}]}", "sipxrest.yaml:3: policies: staff allows nothing, for what no rule matches is refused: end " +
			"it with {default: allow}"},
		{"policy: local-only\npolicy-users: {eve: unrestricted}", "policy-users: nobody of the users is called eve"},
	} {
		dir := t.TempDir()
		apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
		var out bytes.Buffer
		c := &checker{ctx: t.Context(), out: &out}
		cfg, err := config.Load(config.Source{File: apptest.Write(t, dir, "sipxrest.yaml", "domain: sipx.test\nusers: [users.yaml]\n"+tt.text+
			"\n")})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range cfg.Warnings() {
			c.say(levelNote, "configuration", "%s", w)
		}
		c.users(&cfg)
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: lacks %s:\n%s", tt.text, tt.want, out.String())
		}
	}
}
