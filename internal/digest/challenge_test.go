package digest

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseChallenge(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Challenge
		ok   bool
	}{
		{`Digest realm="sipx.test", nonce="n"`, Challenge{Realm: "sipx.test", Nonce: "n"}, true},
		{`Digest realm=sipx.test,nonce=n.1`, Challenge{Realm: "sipx.test", Nonce: "n.1"}, true},
		{"  dIGEST\tREALM = \"r\" ,\t NoNce=\"n\" , ALGORITHM=md5 , Stale=TRUE ,", Challenge{Realm: "r", Nonce: "n", Algorithm: "md5",
			Stale: true}, true},
		{`Digest nonce="a, b=c, realm=x", realm="r"`, Challenge{Realm: "r", Nonce: "a, b=c, realm=x"}, true},
		{`Digest nonce="a\"b\\c\d", realm="r"`, Challenge{Realm: "r", Nonce: `a"b\cd`}, true},
		{`Digest nonce="n", qop="auth-int, AUTH", opaque="o", algorithm="SHA-256"`,
			Challenge{Nonce: "n", QOP: []string{"auth-int", "auth"}, Opaque: "o", Algorithm: "SHA-256"}, true},
		{`Digest nonce="n", qop=auth, stale=false, domain="sip:a sip:b", x-new="y"`, Challenge{Nonce: "n", QOP: []string{"auth"}}, true},
		{`Digest ,, nonce="n",,`, Challenge{Nonce: "n"}, true},
		{`Digest realm="r"`, Challenge{}, false},
		{`Digest nonce=""`, Challenge{}, false},
		{`Digest nonce="open`, Challenge{}, false},
		{`Digest nonce="open\`, Challenge{}, false},
		{`Digest nonce`, Challenge{}, false},
		{`Digest`, Challenge{}, false},
		{`Digestnonce="n"`, Challenge{}, false},
		{`Basic realm="r"`, Challenge{}, false},
		{`Basic nonce="n"`, Challenge{}, false},
		{``, Challenge{}, false},
	} {
		got, ok := ParseChallenge(c.in)
		if ok != c.ok || (ok && !reflect.DeepEqual(got, c.want)) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", c.in, got, ok, c.want)
		}
	}
}

// The examples of RFC 2617 §3.5 and RFC 7616 §3.9.1, and what RFC 2069 makes of
// the former.
func TestDigestVectors(t *testing.T) {
	old := Credentials{Username: "Mufasa", Password: "Circle Of Life"}
	cred := Credentials{Username: "Mufasa", Password: "Circle of Life"}
	const cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
	const rfc2617 = `Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"`
	const rfc7616 = `Digest realm="http-auth@example.org", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", ` +
		`opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`
	for _, c := range []struct {
		challenge string
		cred      Credentials
		cnonce    string
		response  string
	}{
		{rfc2617, old, "0a4f113b", "670fd8c2df070c60b045671b8b24ff02"},
		{rfc2617, Credentials{Username: "Mufasa", Password: "CircleOfLife"}, "", "1949323746fe6a43ef61f9606e7febea"},
		{rfc2617 + `, qop="auth,auth-int"`, old, "0a4f113b", "6629fae49393a05397450978507c4ef1"},
		{rfc7616 + `, qop="auth, auth-int", algorithm=MD5`, cred, cnonce, "8ca523f5e9506fed4657c9700eebdbec"},
		{rfc7616 + `, qop="auth, auth-int", algorithm=SHA-256`, cred, cnonce, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
		{rfc7616 + `, qop="auth", algorithm=MD5`, Credentials{Username: "Mufasa", HA1: "3D78807DEFE7DE2157E2B0B6573A855F"}, cnonce,
			"8ca523f5e9506fed4657c9700eebdbec"},
		{rfc7616 + `, qop="auth", algorithm=SHA-256`,
			Credentials{Username: "Mufasa", HA1: "wrong", HA1SHA256: "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"}, cnonce,
			"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
		{rfc7616 + `, qop="auth", algorithm=MD5-sess`, cred, cnonce, "e783283f46242139c486a698fec7211d"},
		{rfc7616 + `, qop="auth", algorithm=SHA-256-sess`, cred, cnonce, "2fd51b3a77ad75bad6afad6003e818d767133c46d9e2749e7f5232ae1ea3efd7"},
		{rfc7616 + `, algorithm=MD5-sess`, cred, cnonce, "37a7f42db2090a3fcac4e26e747d4fc8"},
	} {
		ch, ok := ParseChallenge(c.challenge)
		if !ok {
			t.Fatalf("%s is no challenge", c.challenge)
		}
		value, err := ch.Respond(&c.cred, "GET", "/dir/index.html", c.cnonce)
		if err != nil || !strings.Contains(value, `response="`+c.response+`"`) {
			t.Errorf("%s:\n got %s, %v\nwant %s", c.challenge, value, err, c.response)
		}
		// What is sent can be read as what was meant.
		back, ok := ParseChallenge(value)
		if !ok || back.Nonce != ch.Nonce || back.Realm != ch.Realm || back.Opaque != ch.Opaque || back.Algorithm != ch.Algorithm {
			t.Errorf("%s reads as %+v", value, back)
		}
		if hasQOP := strings.Contains(value, "qop=auth, nc=00000001"); hasQOP != (ch.QOP != nil) {
			t.Errorf("qop in %s", value)
		}
		if needs := ch.QOP != nil || strings.HasSuffix(ch.Algorithm, "-sess"); strings.Contains(value, `cnonce="`+c.cnonce+`"`) != needs {
			t.Errorf("cnonce in %s", value)
		}
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	c := Credentials{Username: "200", Password: "secret", HA1: "deadbeef", HA1SHA256: "cafe"}
	if s := c.LogValue().String(); s != "[redacted]" {
		t.Errorf("logged as %s", s)
	}
}
