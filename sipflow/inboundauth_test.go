package sipflow

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/digest"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// digestCaller responds to challenges as a test wants it.
type digestCaller struct {
	*rawInbound
	seq int
}

const roomURI = "sip:room@10.0.0.1:5060"

// asks sends an INVITE with credentials, of a call of its own, and returns the
// first response but 100.
func (d *digestCaller) asks(authorization string) *wire.Message {
	d.rawPhone.t.Helper()
	d.seq++
	msg := rawInvite("b1", fmt.Sprintf("c%d", d.seq), "raw1", fmt.Sprintf("call%d", d.seq))
	if authorization != "" {
		msg = strings.Replace(msg, "Max-Forwards", "Authorization: "+authorization+"\r\nMax-Forwards", 1)
	}
	d.rawPhone.send(msg)
	for {
		if m := d.read(5 * time.Second); m == nil || m.Code() != 100 && string(m.Get(wire.CallID)) == fmt.Sprintf("call%d", d.seq) {
			if m != nil && m.Code() == 486 {
				d.rawPhone.send(strings.Replace(refusalACK(m), "raw1", fmt.Sprintf("call%d", d.seq), 1))
			}
			return m
		}
	}
}

// challengeBy is the challenge of an algorithm in a 401.
func challengeBy(t *testing.T, m *wire.Message, algorithm string) digest.Challenge {
	t.Helper()
	if m == nil || m.Code() != 401 {
		t.Fatalf("got %s, want 401", show(m))
	}
	for v := range m.All(wire.WWWAuthenticate) {
		if c, ok := digest.ParseChallenge(string(v)); ok && c.Algorithm == algorithm {
			return c
		}
	}
	t.Fatalf("no challenge of %s in %q", algorithm, m.Raw())
	return digest.Challenge{}
}

// answerWith is the Authorization for a challenge.
func answerWith(c digest.Challenge, cred Credentials, uri string) string {
	a, _ := c.Respond(&cred, "INVITE", uri, "cn")
	return a
}

// counted is answerWith for a count of its own.
func counted(c digest.Challenge, password string, nc int) string {
	ha1, ha2 := digest.SHA256.Hash("201:"+c.Realm+":"+password), digest.SHA256.Hash("INVITE:"+roomURI)
	return fmt.Sprintf(`Digest username="201", realm="%s", nonce="%s", uri="%s", response="%s", qop=auth, nc=%08x, cnonce="cn", `+
		`algorithm=SHA-256`,
		c.Realm, c.Nonce, roomURI, digest.SHA256.Hash(fmt.Sprintf("%s:%s:%08x:cn:auth:%s", ha1, c.Nonce, nc, ha2)), nc)
}

// emptyPassword returns credentials of a user with the password that nobody
// has.
func emptyPassword(c digest.Challenge, user string) string {
	return answerWith(c, Credentials{Username: user, HA1SHA256: digest.SHA256.Hash(user + ":" + c.Realm + ":")}, roomURI)
}

// authCalls runs f with a caller that is challenged; 201 has the password secret,
// 202 an HA1 for MD5 only.
func authCalls(t *testing.T, f func(t *testing.T, d *digestCaller)) {
	t.Helper()
	inboundRaw(t, func(_ context.Context, in *Incoming) error {
		if in.Username == "" {
			return in.Refuse(500, "")
		}
		return in.Refuse(486, "")
	}, func(t *testing.T, p *rawInbound) { f(t, &digestCaller{rawInbound: p}) }, func(cfg *Config) {
		cfg.Inbound.Realm = "sipx.test"
		cfg.Inbound.Admit = nil
		cfg.Inbound.Secrets = func(user string) (Credentials, bool) {
			switch user {
			case "201":
				return Credentials{Username: user, Password: "secret"}, true
			case "202":
				return Credentials{Username: user, HA1: digest.MD5.Hash("202:sipx.test:secret")}, true
			}
			return Credentials{}, false
		}
	})
}

func TestInboundCallersProveWhoTheyAre(t *testing.T) {
	good := Credentials{Username: "201", Password: "secret"}
	authCalls(t, func(t *testing.T, d *digestCaller) {
		wants := func(code int, authorization string) *wire.Message {
			t.Helper()
			m := d.asks(authorization)
			if m == nil || m.Code() != code {
				t.Errorf("got %s, want %d", show(m), code)
			}
			return m
		}
		sha := func() digest.Challenge { return challengeBy(t, d.asks(""), "SHA-256") }
		wants(486, answerWith(sha(), good, roomURI))
		wants(486, answerWith(challengeBy(t, d.asks(""), "MD5"), good, roomURI))
		wants(486, answerWith(sha(), good, "sip:room@10.0.0.1")) // To, which no proxy changes

		c := sha()
		wants(486, counted(c, "secret", 1))
		wants(486, counted(c, "secret", 7))
		if again := challengeBy(t, wants(401, counted(c, "secret", 7)), "SHA-256"); !again.Stale {
			t.Error("a count that was used is not called stale")
		}
		wants(486, counted(c, "secret", 6)) // requests may overtake each other
		wants(401, counted(c, "secret", 6))
		wants(401, counted(c, "secret", 0))

		old := sha()
		old.QOP = nil // RFC 2069: such a response does once
		wants(486, answerWith(old, good, roomURI))
		wants(401, answerWith(old, good, roomURI))

		late := sha()
		time.Sleep(digest.NonceLife)
		if again := challengeBy(t, wants(401, answerWith(late, good, roomURI)), "SHA-256"); !again.Stale {
			t.Error("an old nonce is not called stale")
		}

		made := sha()
		made.Nonce = strings.Repeat("A", len(made.Nonce))
		wants(401, answerWith(made, good, roomURI))
		made.Nonce = "x"
		wants(401, answerWith(made, good, roomURI))
		wants(401, answerWith(sha(), Credentials{Username: "nobody", Password: ""}, roomURI))
		wants(401, emptyPassword(sha(), "nobody"))
		wants(401, "Digest username=")
		wants(401, "Basic MjAxOnNlY3JldA==")

		// A user of whom only the HA1 for MD5 is known is asked for that.
		m := wants(401, answerWith(sha(), Credentials{Username: "202", Password: "secret"}, roomURI))
		if got := len(valuesOf(m, wire.WWWAuthenticate)); got != 1 {
			t.Errorf("%d challenges, want that of MD5", got)
		}
		wants(486, answerWith(challengeBy(t, m, "MD5"), Credentials{Username: "202", Password: "secret"}, roomURI))
	})
}

func TestInboundChallengesAreByWhatIsSet(t *testing.T) {
	var algorithms []string
	good, half := Credentials{Username: "201", Password: "secret"}, Credentials{Username: "202", Password: "secret"}
	authCalls(t, func(t *testing.T, d *digestCaller) {
		d.sw.cfg.Inbound.Algorithms = func() []string { return algorithms }
		offers := func(m *wire.Message) string {
			var names []string
			for v := range m.All(wire.WWWAuthenticate) {
				c, _ := digest.ParseChallenge(string(v))
				names = append(names, c.Algorithm)
			}
			return strings.Join(names, " ")
		}
		for _, c := range []struct {
			set, offered string
			sha, md5     int // what credentials of 201 get
		}{
			{"", "SHA-256 MD5", 486, 486},
			{"MD5 SHA-256", "MD5 SHA-256", 486, 486},
			{"MD5", "MD5", 401, 486},
			{"SHA-256", "SHA-256", 486, 401},
		} {
			algorithms = nil
			bySHA, byMD5 := challengeBy(t, d.asks(""), "SHA-256"), challengeBy(t, d.asks(""), "MD5")
			algorithms = strings.Fields(c.set)
			if got := offers(d.asks("")); got != c.offered {
				t.Errorf("%q: challenged by %s", c.set, got)
			}
			for _, answer := range []struct {
				challenge digest.Challenge
				want      int
			}{{bySHA, c.sha}, {byMD5, c.md5}} {
				m := d.asks(answerWith(answer.challenge, good, roomURI))
				if m.Code() != answer.want {
					t.Errorf("%q: an answer by %s got %s", c.set, answer.challenge.Algorithm, show(m))
				}
				if m.Code() == 401 && (offers(m) != c.offered || !challengeBy(t, m, c.offered).Stale) {
					t.Errorf("%q: challenged again by %q", c.set, m.Raw())
				}
			}
		}
		if got := d.sw.Stats().Inbound[InboundDenied]; got != 0 {
			t.Errorf("%d answers by what is not taken any more are counted as guesses", got)
		}
		// MD5 needs not be named, and is not to be had by leaving it out.
		algorithms = nil
		unnamed := challengeBy(t, d.asks(""), "MD5")
		unnamed.Algorithm = ""
		if m := d.asks(answerWith(unnamed, good, roomURI)); m.Code() != 486 {
			t.Errorf("an answer without algorithm got %s", show(m))
		}
		unnamed = challengeBy(t, d.asks(""), "MD5")
		unnamed.Algorithm, algorithms = "", []string{AlgorithmSHA256}
		if m := d.asks(answerWith(unnamed, good, roomURI)); m.Code() != 401 {
			t.Errorf("MD5 was taken: %s", show(m))
		}
		// A caller without a secret for the algorithms that we take is denied, not
		// asked for ever.
		m := d.asks(answerWith(challengeBy(t, d.asks(""), "SHA-256"), half, roomURI))
		if challengeBy(t, m, "SHA-256").Stale || d.sw.Stats().Inbound[InboundDenied] != 1 {
			t.Errorf("got %q", m.Raw())
		}
	})
}

func valuesOf(m *wire.Message, h wire.Header) (all []string) {
	for v := range m.All(h) {
		all = append(all, string(v))
	}
	return all
}

func TestInboundWrongAnswersAreFew(t *testing.T) {
	authCalls(t, func(t *testing.T, d *digestCaller) {
		for i := range maxWrong {
			cred := Credentials{Username: "201", Password: "guess"}
			uri := roomURI
			switch i % 3 {
			case 1:
				cred = Credentials{Username: "nobody", Password: "secret"}
			case 2:
				cred, uri = Credentials{Username: "201", Password: "secret"}, "sip:other@10.0.0.1"
			}
			if m := d.asks(answerWith(challengeBy(t, d.asks(""), "SHA-256"), cred, uri)); m.Code() != 401 {
				t.Fatalf("wrong answer %d got %s", i, show(m))
			}
		}
		right := answerWith(challengeBy(t, d.asks(""), "SHA-256"), Credentials{Username: "201", Password: "secret"}, roomURI)
		if m := d.asks(right); m.Code() != 403 {
			t.Errorf("after %d wrong answers: %s", maxWrong, show(m))
		}
		time.Sleep(time.Minute)
		if m := d.asks(right); m.Code() != 486 {
			t.Errorf("a minute later: %s", show(m))
		}
		if got := d.sw.Stats().Inbound[InboundDenied]; got != maxWrong+1 {
			t.Errorf("%d denied", got)
		}
	})
}

// A nonce is of use only where it was sent, so that nobody sends wrong
// credentials, or right ones, in the name of another address.
func TestInboundNonceIsOfOneAddress(t *testing.T) {
	authCalls(t, func(t *testing.T, d *digestCaller) {
		c := challengeBy(t, d.asks(""), "SHA-256")
		other := &digestCaller{rawInbound: &rawInbound{rig: d.rig, rawPhone: rawUDP(t, d.rig.net, "10.0.0.7:5060")}, seq: 1000}
		if m := other.asks(answerWith(c, Credentials{Username: "201", Password: "secret"}, roomURI)); m.Code() != 401 {
			t.Errorf("got %s", show(m))
		}
		if d.sw.challenger.wrong.Suspects(time.Now()) != 0 {
			t.Error("counted as a wrong answer")
		}
	})
}

func TestInboundCallersWithoutCredentialsLeaveNothing(t *testing.T) {
	authCalls(t, func(t *testing.T, d *digestCaller) {
		for range 500 {
			challengeBy(t, d.asks(""), "MD5")
		}
		for i := range d.sw.shards {
			s := &d.sw.shards[i]
			s.mu.Lock()
			if len(s.inbound)+len(s.legs) != 0 {
				t.Errorf("shard %d keeps %d INVITEs, %d legs", i, len(s.inbound), len(s.legs))
			}
			s.mu.Unlock()
		}
		if n, who := d.sw.challenger.nonces.Len(), d.sw.challenger.wrong.Suspects(time.Now()); n+who != 0 {
			t.Errorf("%d nonces and %d addresses are kept", n, who)
		}
	})
}

// TestFiveHundredCallersWait has 500 calls wait for a decision of three seconds:
// another one is answered at once, and nothing of them stays.
func TestFiveHundredCallersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := rawUDP(t, n, phoneAddr)
		var mu sync.Mutex
		most, now := 0, 0
		r := newRig(t, n, "", func(cfg *Config) {
			cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: func(ctx context.Context, in *Incoming) error {
				if in.To.User == "quick" {
					return in.Refuse(486, "")
				}
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				select {
				case <-time.After(3 * time.Second):
				case <-ctx.Done():
				}
				mu.Lock()
				now--
				mu.Unlock()
				return in.Refuse(404, "")
			}}
		})
		defer r.stop()
		for i := range 500 {
			p.send(rawInvite("b1", fmt.Sprintf("n%d", i), "raw1", fmt.Sprintf("n%d", i)))
		}
		start := time.Now()
		p.send(rawInvite("b1", "quick", "raw1", "quick", "INVITE sip:room", "INVITE sip:quick"))
		codes, acked := map[int]int{}, 0
		var quick time.Duration
		for m := p.read(5 * time.Second); m != nil; m = p.read(5 * time.Second) {
			id := string(m.Get(wire.CallID))
			if m.Code() == 486 {
				quick = time.Since(start)
			}
			if codes[m.Code()]++; m.Code() >= 300 {
				acked++
				p.send(strings.NewReplacer("z9hG4bKb1", "z9hG4bK"+id, "raw1", id).Replace(refusalACK(m)))
			}
		}
		if most != 500 || codes[100] != 501 || codes[404] != 500 || quick > 100*time.Millisecond {
			t.Errorf("%d at once, answers %v, the other after %v", most, codes, quick)
		}
		if got := r.sw.Stats().Calls.Ended[FlowInbound][OutcomeRefused4xx]; got != 500 {
			t.Errorf("%d calls are counted as refused", got)
		}
		r.empty()
	})
}

func TestInboundCallsAreBounded(t *testing.T) {
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) {
		for i, code := range []int{100, 100, 503} {
			id := fmt.Sprint("n", i)
			m := p.wants(code, rawInvite("b1", id, "raw1", id))
			if code == 503 && string(m.Get(wire.RetryAfter)) != "5" {
				t.Errorf("Retry-After is %q", m.Get(wire.RetryAfter))
			}
		}
		if n := p.sw.Active(); n != 2 {
			t.Errorf("%d calls", n)
		}
		for i := range 2 {
			id := fmt.Sprint("n", i)
			p.rawPhone.send(rawOf("CANCEL", 1, id, "", "raw1", id))
			p.next(200)
			p.rawPhone.send(strings.NewReplacer("b1", id, "raw1", id).Replace(refusalACK(p.next(487))))
		}
		p.sw.Drain()
		if m := p.wants(503, rawInvite("b1", "d", "raw1", "d")); m.Get(wire.RetryAfter) == nil {
			t.Error("503 without Retry-After")
		}
	}, func(cfg *Config) { cfg.MaxCalls = 2 })
}

func TestInboundIsOffUnlessAskedFor(t *testing.T) {
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) { p.wants(404, rawInvite()) }, func(cfg *Config) { cfg.Inbound = nil })
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) { p.wants(404, rawInvite()) }, func(cfg *Config) { cfg.Inbound.Admit = nil })
	inboundRaw(t, waits, func(t *testing.T, p *rawInbound) { p.wants(403, rawInvite()) },
		func(cfg *Config) { cfg.Inbound.Admit = func(*Incoming) Admission { return Refuse } })
	if _, err := New(Config{Listen: []string{"udp:127.0.0.1:0"}, Inbound: &Inbound{}}, nil); err == nil || !strings.Contains(err.Error(),
		"Take") {
		t.Errorf("New without Take: %v", err)
	}
}
