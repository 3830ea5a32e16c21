package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPolicyTryTellsNumberClassesRuleAndVerdict(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"c.yaml": "domain: sipx.test\nusers: [u.yaml]\npolicy: no-premium\ndial: {country: DE}\n",
		"u.yaml": `- {user: "201", aliases: [bob], pin: "1", policy: local-only}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--set", "dial.international-prefixes=[0, 00]", "0046 900 123456"}, exitFailed, []string{
			"\nmay mean   +46900123456         premium, international       refused by rule 2: premium\nrefused "}},
		{[]string{"0900-1234567"}, exitFailed, []string{"user       everybody, policy no-premium\n", "may mean   +499001234567",
			"premium, national", "refused by rule 2: premium\n",
			"refused    dialling +499001234567 is refused by policy no-premium, rule 2: premium\n"}},
		{[]string{"--user", "bob", "0049 30 123456"}, exitFailed, []string{"user       bob, policy local-only", "+4930123456", "national",
			"refused: no rule matches"}},
		{[]string{"--user", "201", "110"}, exitOK, []string{"emergency", "allowed by rule 1: emergency\n", "allowed    110\n"}},
		{[]string{"--set", "policy=", "0900-1234567"}, exitOK, []string{"everybody, policy none", "premium, national", "allowed\n"}},
		{[]string{"0²00"}, exitFailed, []string{"refused: it has signs that are digits to some and not to others"}},
		{[]string{"--user", "eve", "110"}, exitFailed, []string{`there is no user "eve"`}},
	} {
		var out bytes.Buffer
		code := run(append([]string{"policy", "try", "--config", filepath.Join(dir, "c.yaml")}, tt.args...),
			world{stdin: strings.NewReader(""), stdout: &out, stderr: &out})
		if code != tt.code {
			t.Errorf("%v: exit code %d, want %d", tt.args, code, tt.code)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%v lacks %q:\n%s", tt.args, want, out.String())
			}
		}
	}
}
