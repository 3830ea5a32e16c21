package sipflow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sipxrest/resolve"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// maxRedirects bounds the further places that one INVITE is sent to because of
// redirects, and maxContacts those that are waiting for their turn.
const (
	maxRedirects = 5
	maxContacts  = 20
)

// allowed asks Config.Allow about a target of a call: user@host or a URI, as
// on the wire.
//
//go:noinline
func (sw *Switchboard) allowed(spec *Spec, target string) error {
	if sw.cfg.Allow == nil {
		return nil
	}
	if err := sw.cfg.Allow(spec, target); err != nil {
		sw.stats.refused[RefusedForbidden].Add(1)
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return nil
}

// redirection is where the 3xx responses to an INVITE lead (RFC 3261 §8.1.3.4).
type redirection struct {
	open  []string // URIs still to be tried, the most wanted first
	seen  []string // URIs that were named, in lower case: none is tried twice
	moves int
}

// followsRedirects reports whether the called party may send the call
// elsewhere: a phone that responds 302 forwards its calls.
func (c *Call) followsRedirects() bool { return c.ForwardingAllowed || c.sw.cfg.FollowRedirects }

// unsettled reports whether a refusal of the first INVITE may be followed by a
// try elsewhere: it is told only when it is not.
func (l *Leg) unsettled(code int) bool {
	return code >= 300 && l.next == "" && (isRedirect(code) && l.call.followsRedirects() || l.elsewhere)
}

// isRedirect tells the responses that name others to call. 305 (a proxy of the
// callee's choice) and 380 are none (RFC 3261 §21.3.4).
func isRedirect(code int) bool { return code >= 300 && code <= 302 }

// redirected makes the request one to the next place that redirects have
// named, and reports whether there is one that may be called.
//
//go:noinline
func (a *attempt) redirected(res *wire.Message) bool {
	l := a.leg
	if a.method != "INVITE" || l.next != "" || !l.call.followsRedirects() {
		return false
	}
	r := a.redirects
	if r == nil {
		r = &redirection{seen: []string{strings.ToLower(l.target)}}
	}
	switch code := res.Code(); {
	case isRedirect(code):
		if a.hop.Transport == "udp" { // as in a response's Contact, see mayConnect
			l.source = a.hop.Addr.Addr()
		}
		a.redirects = r
		r.add(res)
	case code >= 600: // nowhere else either (RFC 3261 §21.6)
		r.open = nil
	}
	for len(r.open) > 0 && r.moves < maxRedirects {
		var next string
		next, r.open = r.open[0], r.open[1:]
		err := l.call.sw.barred(next)
		if err == nil {
			err = l.call.sw.allowed(&l.call.Spec, next)
		}
		if err != nil {
			l.call.sw.log.Debug("sip: redirect not followed", "call", l.call, "to", next, "error", err)
			continue
		}
		r.moves++
		l.elsewhere = len(r.open) > 0
		if way := l.call.AutoAnswer.header(l.call.Key.Agent); way != "" { // of the agent's own phone, not of another's
			a.header, l.first = strings.Replace(a.header, way, "", 1), strings.Replace(l.first, way, "", 1)
		}
		l.record.redirected(l.target, next, res.Code(), string(res.Reason()))
		l.target = next
		a.renumber()
		a.auth = auth{cred: a.auth.cred, realm: a.auth.realm} // what was computed is for the other URI
		a.hops, a.hop, a.routed, a.failed = nil, resolve.Hop{}, false, nil
		return true
	}
	l.elsewhere = false
	return false
}

// add takes the contacts of a 3xx, those with the highest q first. Headers and
// a method in their URIs would say what is sent, which is ours to say.
func (r *redirection) add(res *wire.Message) {
	type contact struct {
		uri string
		q   float64
	}
	var list []contact
	for v := range res.All(wire.Contact) {
		wire.Split(v, func(one []byte) bool {
			addr, params := wire.NameAddr(one)
			text, ok := uri.Callable(string(addr))
			if key := strings.ToLower(text); ok && !slices.Contains(r.seen, key) {
				r.seen = append(r.seen, key)
				q := 1.0
				if v, ok := wire.Param(params, "q"); ok {
					q, _ = strconv.ParseFloat(string(v), 64)
				}
				list = append(list, contact{text, q})
			}
			return len(r.seen) < maxContacts
		})
	}
	slices.SortStableFunc(list, func(a, b contact) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	open := make([]string, 0, len(list)+len(r.open))
	for _, c := range list {
		open = append(open, c.uri)
	}
	r.open = append(open, r.open...)
}

// notAllowed refuses a REFER that the policy forbids.
var notAllowed = wire.Reply{Code: 603, Header: reasonLine(603, "Not Allowed By Policy")}
