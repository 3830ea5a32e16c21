package config

import (
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
)

func TestPoliciesAreReadAndTheirFaultsTold(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"policy: no-premum", `:3: policy: there is no policy "no-premum"`},
		{"policies: [a]", ":3: policies: policies by name are expected here"},
		{"policies: {a: b}", ":3: policies: a: a list of rules is expected"},
		{"policies: {a: [b]}", ":3: policies: a: rule 1: write it as {allow"},
		{"policies:\n  a:\n    - denny: [any]", `:5: policies: a: rule 1: unknown key "denny": did you mean "deny"?`},
		{"policies: {a: [{deny: [premum]}]}", `:3: policies: a: rule 1: "premum" is not a class`},
		{"policies: {a: [{default: deny}], a: [{default: allow}]}", "a is there twice"},
		{"policy-users: [a]", ":3: policy-users: names are expected here"},
		{`policy-users: {"201": x}`, `:3: policy-users: 201: there is no policy "x"`},
		{"dial: {country: Germany}", `:3: dial.country: "GERMANY" is not a country`},
		{"dial: {extension-digits: 99}", ":3: dial.extension-digits: 99 is not between 1 and 12"},
		{"dial: {outside-line: [x]}", `:3: dial.outside-line: "x": write digits`},
	} {
		dir := t.TempDir()
		_, err := Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", "domain: sipx.test\nusers: [users.yaml]\n"+tt.text+"\n")})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.text, err, tt.want)
		}
	}
}
