package order

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"sipxrest/restauth"
	"sipxrest/sipflow"
)

func directory(t *testing.T, yaml string) *Directory {
	t.Helper()
	name := filepath.Join(t.TempDir(), "users.yaml")
	if err := os.WriteFile(name, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: "sipx.test", Files: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	return &Directory{Users: users, Domain: "sipx.test"}
}

func TestAUserIsTheSameByEachOfHisNames(t *testing.T) {
	d := directory(t, `- {user: "201", aliases: [bob], identity: 201@Sipx.test}`)
	for text, want := range map[string]string{
		"201": "201@sipx.test", "bob": "201@sipx.test", "bob@SIPX.TEST": "201@sipx.test", "bob@elsewhere.test": "bob@elsewhere.test",
		"202": "202@sipx.test",
	} {
		p, ok := d.Party(text)
		if got := d.KeyOf(p); !ok || got != want {
			t.Errorf("%s is %s, %v, want %s", text, got, ok, want)
		}
	}
	bob, _ := d.Users.Lookup("bob")
	if p, ok := d.Agent(bob); !ok || p.AOR() != "201@sipx.test" {
		t.Errorf("bob's calls are those of %+v", p)
	}
	if _, ok := d.Agent(nil); ok {
		t.Error("nobody has calls placed")
	}
}

func TestACallHasTheSecretsOfItsAgent(t *testing.T) {
	d := directory(t, `- {user: "201", sip-password: secret}`)
	agent, _ := d.Users.Lookup("201")
	who := Client{netip.MustParseAddr("192.0.2.1"), true}
	s := who.Spec(agent, "201@sipx.test")
	if s.Agent != "201@sipx.test" || s.Credentials != (sipflow.Credentials{Username: "201", Password: "secret"}) || !s.Trusted ||
		s.Peer != who.Addr {
		t.Errorf("%+v", s)
	}
	if s := who.Spec(nil, "201@sipx.test"); s.Agent != "" || s.Credentials != (sipflow.Credentials{}) {
		t.Errorf("nobody's call is that of %q", s.Agent)
	}
	if Forbidden(errors.New("201 must not")) != "The call is not allowed" {
		t.Error("an error that is no policy's is told")
	}
}
