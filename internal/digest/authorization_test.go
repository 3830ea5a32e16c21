package digest

import (
	"strings"
	"testing"
)

func TestParseAuthorization(t *testing.T) {
	want := Authorization{
		Username: "201", Realm: "sipx.test", Nonce: "n", URI: "/a?b=c,d", Response: "r",
		Algorithm: "MD5", QOP: "auth", CNonce: "c", NC: "0000000a",
	}
	for name, text := range map[string]string{
		"usual":  `username="201", realm="sipx.test", nonce="n", uri="/a?b=c,d", response="r", algorithm=MD5, qop=auth, nc=0000000a, cnonce="c"`,
		"quoted": `username="201",realm="sipx.test",nonce="n",uri="/a?b=c,d",response="r",algorithm="MD5",qop="auth",nc="0000000a",cnonce="c"`,
		"names":  `USERNAME="201", Realm="sipx.test", nOnce="n", URI="/a?b=c,d", Response="r", ALGORITHM=MD5, QOP=auth, NC=0000000a, CNonce="c"`,
		"spaces": "  username = \"201\" ,\trealm=\"sipx.test\",, nonce=\"n\" , uri=\"/a?b=c,d\",response= \"r\", algorithm=MD5, qop=auth, " +
			"nc=0000000a, cnonce=\"c\" ,",
		"bare": `username=201, realm=sipx.test, nonce=n, uri="/a?b=c,d", response=r, algorithm=MD5, qop=auth, nc=0000000a, cnonce=c`,
		"escapes": `username="\2\01", realm="si\px.test", nonce="n", uri="/a?b=c,d", response="r", algorithm=MD5, qop=auth, nc=0000000a, ` +
			`cnonce="c"`,
		"unknown": `opaque="o, username=x", username="201", realm="sipx.test", x=, nonce="n", uri="/a?b=c,d", response="r", algorithm=MD5, ` +
			`qop=auth, nc=0000000a, cnonce="c"`,
		"rearrange": `cnonce="c", nc=0000000a, qop=auth, algorithm=MD5, response="r", uri="/a?b=c,d", nonce="n", realm="sipx.test", ` +
			`username="201"`,
	} {
		got, err := ParseAuthorization("Digest " + text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if count, err := got.Count(); count != 10 || err != nil {
			t.Errorf("%s: count %d, %v", name, count, err)
		}
	}
}

func TestAuthorizationsThatAreRefused(t *testing.T) {
	const base = `username="201", realm="r", nonce="n", uri="/", response="x"`
	read := func(text string) (Authorization, error) {
		a, err := ParseAuthorization("Digest " + text)
		if err == nil {
			_, err = a.Count()
		}
		return a, err
	}
	if _, err := read(base); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "a=", "a", "=", `"`, `username="201`, `username="201\`, base + ` x="1"`, base + ", =x", base + `, y="a"b`,
		base + ", username=202", base + `, URI="/b"`,
		base + ", qop=auth", base + ", qop=auth, nc=00000001", base + ", qop=auth, cnonce=c, nc=1", base + ", qop=auth, cnonce=c, nc=0000000g",
		base + ", qop=auth, cnonce=c, nc=-0000001", base + ", qop=auth, cnonce=c, nc=+0000001", base + ", qop=auth, cnonce=c, nc=00000000",
		base + ", qop=auth-int, cnonce=c, nc=00000001", base + `, qop="auth,auth-int", cnonce=c, nc=00000001`,
		strings.Replace(base, "201", "2\x0001", 1), strings.Replace(base, "201", "2\\\r01", 1), strings.Replace(base, "201", "2\n01", 1),
	} {
		if c, err := read(text); err == nil {
			t.Errorf("%.100q: accepted as %+v", text, c)
		}
	}
}
