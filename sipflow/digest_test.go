package sipflow

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"log/slog"
	"testing/synctest"
	"time"

	"sipxrest/internal/digest"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// refusal is a 401 or 407 with these challenges.
func refusal(t testing.TB, code int, challenges ...string) *wire.Message {
	t.Helper()
	name := "WWW-Authenticate"
	if code == 407 {
		name = "Proxy-Authenticate"
	}
	s := fmt.Sprintf("SIP/2.0 %d No\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a>\r\nTo: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n", code)
	for _, c := range challenges {
		s += name + ": " + c + "\r\n"
	}
	m, err := wire.Parse([]byte(s + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ha1(hash string) string {
	if hash == "MD5" {
		s := md5.Sum([]byte("200:sipx.test:secret"))
		return hex.EncodeToString(s[:])
	}
	s := sha256.Sum256([]byte("200:sipx.test:secret"))
	return hex.EncodeToString(s[:])
}

// Which of several challenges is answered, and which must not be.
func TestWhichChallengeIsAnswered(t *testing.T) {
	asks := func(algorithm, rest string) string {
		return `Digest realm="sipx.test", nonce="n", algorithm=` + algorithm + rest
	}
	clear, md5Only, shaOnly := Credentials{Username: "200", Password: "secret"}, Credentials{Username: "200", HA1: ha1("MD5")},
		Credentials{Username: "200", HA1SHA256: ha1("SHA-256")}
	for _, c := range []struct {
		name       string
		challenges []string
		cred       Credentials
		has        string // "" for no credentials
	}{
		{"the topmost that we can do", []string{asks("SHA-512-256", ""), asks("SHA-256", ""), asks("MD5", "")}, clear, "algorithm=SHA-256"},
		{"in the server's order", []string{asks("MD5", ""), asks("SHA-256", "")}, clear, "algorithm=MD5"},
		{"an MD5 hash does no SHA-256", []string{asks("SHA-256", ""), asks("MD5", "")}, md5Only, "algorithm=MD5"},
		{"an MD5 hash and nothing else asked", []string{asks("SHA-256", "")}, md5Only, ""},
		{"a SHA-256 hash does no MD5", []string{asks("MD5", ""), asks("SHA-256", "")}, shaOnly, "algorithm=SHA-256"},
		{"no algorithm is MD5", []string{`Digest realm="sipx.test", nonce="n"`}, md5Only, `response="`},
		{"auth-int alone", []string{asks("MD5", `, qop="auth-int"`)}, clear, ""},
		{"an empty qop is none", []string{asks("MD5", `, qop=""`)}, clear, `uri="sip:b", response="`},
		{"a qop of commas is none", []string{asks("MD5", `, qop=" , "`)}, clear, `uri="sip:b", response="`},
		{"auth-int first", []string{asks("MD5", `, qop="auth-int,auth"`)}, clear, "qop=auth,"},
		{"unknown algorithm", []string{asks("AKAv1-MD5", "")}, clear, ""},
		{"algorithm with more behind it", []string{asks(`"MD5, x=y"`, "")}, clear, ""},
		{"another realm", []string{`Digest realm="evil.example", nonce="n"`}, clear, ""},
		{"our realm in other case is another", []string{`Digest realm="SIPX.test", nonce="n"`}, clear, ""},
		{"no realm", []string{`Digest nonce="n"`}, clear, ""},
		{"another realm first", []string{`Digest realm="evil.example", nonce="x"`, asks("MD5", "")}, clear, `nonce="n"`},
		{"Basic", []string{`Basic realm="sipx.test"`}, clear, ""},
		{"Basic first", []string{`Basic realm="sipx.test"`, asks("MD5", "")}, clear, `nonce="n"`},
		{"no secret", []string{asks("MD5", "")}, Credentials{Username: "200"}, ""},
		{"no challenge", nil, clear, ""},
		{"control character in the nonce", []string{"Digest realm=\"sipx.test\", nonce=\"n\x01\""}, clear, ""},
		{"control character in the opaque", []string{"Digest realm=\"sipx.test\", nonce=\"n\", opaque=\"\x7f\""}, clear, ""},
		{"quotes in the nonce", []string{`Digest realm="sipx.test", nonce="a\"b\\c"`}, clear, `nonce="a\"b\\c"`},
	} {
		for _, code := range []int{401, 407} {
			a := auth{cred: &c.cred, realm: "sipx.test"}
			ok := a.answer(refusal(t, code, c.challenges...), "BYE", "sip:b")
			if ok != (c.has != "") || (a.lines() != "") != ok {
				t.Errorf("%s: answered %v with %q", c.name, ok, a.lines())
				continue
			}
			want := map[int]string{401: "Authorization: Digest ", 407: "Proxy-Authorization: Digest "}[code]
			if ok && (!strings.HasPrefix(a.lines(), want) || !strings.Contains(a.lines(), c.has) || strings.Count(a.lines(), "\r\n") != 1) {
				t.Errorf("%s: %d is answered with %q, want %s", c.name, code, a.lines(), c.has)
			}
		}
	}
	a := auth{cred: &clear}
	if a.answer(refusal(t, 401, asks("MD5", ""), `Digest realm="", nonce="n"`), "BYE", "sip:b") {
		t.Error("credentials without a realm that may have them")
	}
	if a := (auth{realm: "sipx.test"}); a.answer(refusal(t, 401, asks("MD5", "")), "BYE", "sip:b") {
		t.Error("credentials of nobody")
	}
}

// The log says what is at fault when a challenge is not answered.
func TestWhyAChallengeIsNotAnsweredIsTold(t *testing.T) {
	for challenge, why := range map[string]string{
		`Digest realm="sipx.test", nonce="n", qop="auth-int", algorithm=MD5`: `its challenge wants the qop "auth-int", and only auth is known`,
		`Digest realm="sipx.test", nonce="n", qop="auth", algorithm=SHA-512`: `its challenge has the algorithm "SHA-512", which is not known`,
		`Digest realm="other", nonce="n", qop="auth-int"`:                    `it asks for the realm "other", configured is "sipx.test"`,
		`Digest realm="sipx.test", qop=""`:                                   "its challenge cannot be read",
	} {
		a := auth{cred: &Credentials{Username: "200", Password: "secret"}, realm: "sipx.test"}
		if a.answer(refusal(t, 401, challenge), "BYE", "sip:b") || a.why != why {
			t.Errorf("%s: %s, want %s", challenge, a.why, why)
		}
	}
}

// A CR or LF that came in a challenge, by whatever way, is never sent.
func TestLineEndsOfAChallengeAreNotSent(t *testing.T) {
	cred := Credentials{Username: "200", Password: "secret"}
	for _, evil := range []string{"n\r\nBye: x", "n\rBye: x", "n\nBye: x", "n\r\n Bye: x"} {
		for _, param := range []string{"nonce", "opaque", "algorithm", "x"} {
			b := []byte(fmt.Sprintf("SIP/2.0 401 No\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a>\r\nTo: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n"+
				"WWW-Authenticate: Digest realm=\"sipx.test\", nonce=\"1\", %s=\"%s\"\r\n\r\n", param, evil))
			m, _ := wire.Parse(b) // may well be refused; we look at what comes of it
			a := auth{cred: &cred, realm: "sipx.test"}
			a.answer(m, "BYE", "sip:b")
			if s := strings.TrimSuffix(a.lines(), "\r\n"); strings.ContainsAny(s, "\r\n") {
				t.Errorf("%s=%q is answered with %q", param, evil, s)
			}
		}
	}
}

// A server that refuses again and again does not keep us busy.
func TestChallengesEnd(t *testing.T) {
	cred := Credentials{Username: "200", Password: "secret"}
	a := auth{cred: &cred, realm: "sipx.test"}
	if !a.answer(refusal(t, 401, `Digest realm="sipx.test", nonce="1"`), "BYE", "sip:b") {
		t.Fatal("not answered")
	}
	if a.answer(refusal(t, 401, `Digest realm="sipx.test", nonce="1", stale=true`), "BYE", "sip:b") {
		t.Error("the same nonce was used again")
	}
	a = auth{cred: &cred, realm: "sipx.test"}
	n := 0
	for a.answer(refusal(t, 401, fmt.Sprintf(`Digest realm="sipx.test", nonce="%d", stale=true`, n)), "BYE", "sip:b") {
		if n++; n > maxChallenges {
			t.Fatal("no end")
		}
	}
	if n != maxChallenges {
		t.Errorf("%d challenges were answered, want %d", n, maxChallenges)
	}
	// A proxy and the phone behind it may each ask once.
	a = auth{cred: &cred, realm: "sipx.test"}
	if !a.answer(refusal(t, 407, `Digest realm="sipx.test", nonce="p"`), "BYE", "sip:b") ||
		!a.answer(refusal(t, 401, `Digest realm="sipx.test", nonce="w"`), "BYE", "sip:b") {
		t.Fatal("not answered")
	}
	if s := a.lines(); !strings.Contains(s, "Proxy-Authorization: ") || !strings.Contains(s, "\r\nAuthorization: ") {
		t.Errorf("sent %q", s)
	}
}

// FuzzChallenge: whatever a server asks, the credentials are one clean line, or
// none.
func FuzzChallenge(f *testing.F) {
	for _, s := range []string{`Digest realm="sipx.test", nonce="n", qop="auth,auth-int", algorithm=MD5-sess, opaque="o", stale=true`,
		`digest realm=sipx.test,nonce=n`, `Digest realm="sipx.test", nonce="a\"b\\"`, `Basic realm="x"`, `Digest nonce="open`} {
		f.Add(s)
	}
	cred := Credentials{Username: `2"0\0`, Password: "secret"}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := digest.ParseChallenge(s)
		if !ok {
			return
		}
		if c.Nonce == "" || len(c.Nonce)+len(c.Realm)+len(c.Opaque)+len(c.Algorithm) > len(s) {
			t.Fatalf("%q is %+v", s, c)
		}
		value, err := c.Respond(&cred, "BYE", "sip:b", "c")
		if err != nil {
			return
		}
		back, ok := digest.ParseChallenge(value)
		if !ok || back.Nonce != c.Nonce || back.Realm != c.Realm || back.Opaque != c.Opaque || back.Algorithm != c.Algorithm {
			t.Fatalf("%q reads as %+v, want %+v", value, back, c)
		}
		m, err := wire.Parse([]byte("SIP/2.0 401 No\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a>\r\nTo: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n" +
			"WWW-Authenticate: " + s + "\r\n\r\n"))
		if err != nil {
			return
		}
		a := auth{cred: &cred, realm: "sipx.test"}
		a.answer(m, "BYE", "sip:b")
		if line := strings.TrimSuffix(a.lines(), "\r\n"); wire.HasControl(line) {
			t.Fatalf("answered with %q", line)
		}
	})
}

// FuzzSipfrag: a body has a status line in it or has not.
func FuzzSipfrag(f *testing.F) {
	for _, s := range []string{"SIP/2.0 200 OK\r\n", "SIP/2.0 486 \"Busy\\\\Here\"\x7f\t", "SIP/2.0 486 Busy Here\r\nContact: <sip:x>\r\n",
		"sip/2.0  180", "SIP/2.0 100 Trying\nx", "<xml/>", "SIP/2.0 99999 x", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		code, reason := parseSipfrag(body)
		if code == 0 {
			if reason != "" {
				t.Fatalf("reason %q without a code", reason)
			}
			return
		}
		if code < 100 || code > 699 || strings.ContainsAny(reason, "\r\n") || len(reason) > 128 {
			t.Fatalf("%q is %d %q", body, code, reason)
		}
		if !bytes.Contains(body, []byte(fmt.Sprint(code))) || !bytes.EqualFold(body[:8], []byte("SIP/2.0 ")) {
			t.Fatalf("%q is %d", body, code)
		}
		if line := reasonLine(code, reason); strings.Count(line, "\r\n") != 1 || strings.Count(line, `"`) != 2 ||
			wire.HasControl(strings.TrimSuffix(line, "\r\n")) {
			t.Fatalf("Reason line %q", line)
		}
	})
}

func TestSipfrag(t *testing.T) {
	for _, c := range []struct {
		body   string
		code   int
		reason string
	}{
		{"SIP/2.0 200 OK\r\n", 200, "OK"},
		{"SIP/2.0 200 OK", 200, "OK"},
		{"SIP/2.0 486 Busy Here\r\nContact: <sip:x>\r\n", 486, "Busy Here"},
		{"SIP/2.0 180 Ringing\nx", 180, "Ringing"},
		{"sip/2.0 180", 180, ""},
		{"SIP/2.0 503 " + strings.Repeat("x", 70000), 503, strings.Repeat("x", 128)},
		{"SIP/2.0 99 x", 0, ""}, {"SIP/2.0 700 x", 0, ""}, {"SIP/2.0 2000", 0, ""}, {"SIP/2.0 -20", 0, ""}, {"SIP/3.0 200 OK", 0, ""},
		{"INVITE sip:x SIP/2.0", 0, ""}, {"\r\nSIP/2.0 200 OK", 0, ""}, {"<x>SIP/2.0 200 OK</x>", 0, ""}, {"", 0, ""}, {"\x00", 0, ""},
		{strings.Repeat("x", 70000), 0, ""},
	} {
		if code, reason := parseSipfrag([]byte(c.body)); code != c.code || reason != c.reason {
			t.Errorf("%.40q is %d %q, want %d %q", c.body, code, reason, c.code, c.reason)
		}
	}
}

// What keeps an agent from calling is said once a minute, not once a call.
func TestRefusedPasswordsAreTold(t *testing.T) {
	for _, c := range []struct{ realm, password, says string }{
		{"sipx.test", "wrong", "refuses the SIP password"},
		{"sipx.test", "", "no SIP password is stored"},
		{"other.test", "secret", `asks for the realm \"other.test\", configured is \"sipx.test\"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			phone := n.Phone("201", phoneAddr, siptest.Script{Challenge: asking(func(ch *siptest.Challenge) { ch.Realm = c.realm })})
			defer phone.Close()
			r := newRig(t, n, phoneAddr)
			defer r.stop()
			var log bytes.Buffer
			r.sw.log = slog.New(slog.NewTextHandler(&log, nil))
			for range 3 {
				call := r.place(spec(func(s *Spec) { s.Credentials.Password = c.password }))
				<-call.Done()
				time.Sleep(time.Second)
			}
			synctest.Wait()
			if got := strings.Count(log.String(), "level=WARN"); got != 1 || !strings.Contains(log.String(), c.says) {
				t.Errorf("%d warnings, want one that says %q:\n%s", got, c.says, log.String())
			}
			if got := strings.Count(log.String(), `msg="call ended" flow=refer`); got != 3 {
				t.Errorf("%d calls were told, want 3:\n%s", got, log.String())
			}
			if c.password != "" && strings.Contains(log.String(), c.password) {
				t.Error("the password is in the log")
			}
			r.empty()
		})
	}
}
