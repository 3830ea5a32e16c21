package restauth

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// A Verdict is what a Gate finds about a request. Authorize writes it as it is;
// resources with documents of their own word it as they word everything.
type Verdict struct {
	OK bool // the request may go on
	// User is the agent. nil with OK: a trusted peer named one who does not exist.
	User    *User
	Trusted bool // with OK: let in without a PIN, for its address

	// Of a refusal.
	Status     int
	Why        Failure       // not with 503
	Text       string        // for people
	Challenges []string      // of 401, each a WWW-Authenticate header field
	Wait       time.Duration // of 429 and 503: whole seconds until it may be tried again
}

// Judge is Authorize without a response.
func (g *Gate) Judge(r *http.Request, agentText string) Verdict {
	l, addr, trusted, refused := g.arrive(r)
	if refused != nil {
		return *refused
	}
	if trusted && l.policy != PIN {
		user, _ := g.users.Lookup(agentText)
		return Verdict{OK: true, User: user, Trusted: true}
	}
	return g.authenticate(r, l, addr, agentText)
}

// JudgeSelf is AuthorizeSelf without a response.
func (g *Gate) JudgeSelf(r *http.Request, agentText string) Verdict {
	l, addr, _, refused := g.arrive(r)
	if refused != nil {
		return *refused
	}
	return g.authenticate(r, l, addr, agentText)
}

// Arrive says whether r's listener takes anybody at all of where r comes from.
// It is for clients that prove otherwise than by a PIN who they are.
func (g *Gate) Arrive(r *http.Request) Verdict {
	if _, _, _, refused := g.arrive(r); refused != nil {
		return *refused
	}
	return Verdict{OK: true}
}

// arrive refuses the peers that the listener has no way in for.
func (g *Gate) arrive(r *http.Request) (l *listener, addr netip.Addr, trusted bool, refused *Verdict) {
	l = listenerOf(r)
	addr, trusted = g.peer(r)
	if l.policy == TrustedOnly && !trusted {
		g.stats.count(NotTrusted)
		g.untrusted.Refused(addr)
		return nil, addr, false, &Verdict{Status: http.StatusForbidden, Why: NotTrusted, Text: "Only trusted access allowed"}
	}
	return l, addr, trusted, nil
}

// Secure reports whether r came by TLS, as its listener knows.
func (g *Gate) Secure(r *http.Request) bool { return listenerOf(r).tls }

// let writes a refusal, and returns what Authorize returns.
func (v *Verdict) let(w http.ResponseWriter) (*User, bool) {
	if v.OK {
		return v.User, true
	}
	v.Headers(w.Header())
	plain(w, v.Status, v.Text)
	return nil, false
}

// Headers adds to h what the client needs beside the text: challenges, and when
// to try again.
func (v *Verdict) Headers(h http.Header) {
	for _, c := range v.Challenges {
		h.Add("WWW-Authenticate", c)
	}
	if v.Challenges != nil {
		h.Set("Cache-Control", "no-store")
	}
	if v.Wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(v.Wait/time.Second)))
	}
}
