// Package order turns what a client of an HTTP resource asks for into a call.
// It finds out who asks, on whose behalf, whom the names mean, and which
// secrets to use. Each resource keeps its own parameters and documents.
// sipflow.Config.Allow decides for every call whom a user may call.
package order

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"sipxrest/policy"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// A Client is the one that asks for a call.
type Client struct {
	Addr    netip.Addr // not valid for one that is no HTTP client
	Trusted bool       // he may name any agent, so the limits of one user do not hold
}

// ClientOf returns the client that sent r, which gate has let in.
func ClientOf(gate *restauth.Gate, r *http.Request) Client {
	return Client{gate.Address(r), gate.Trusts(r)}
}

// Spec returns what of a call follows from who asks and on whose behalf: identity
// is the agent's in a key. Without an agent the call is on nobody's behalf, and
// gets no credentials.
func (c Client) Spec(agent *restauth.User, identity string) sipflow.Spec {
	spec := sipflow.Spec{Trusted: c.Trusted, Peer: c.Addr}
	if agent != nil {
		spec.Agent, spec.Credentials = identity, agent.SIP()
	}
	return spec
}

// A Directory knows whom a name means.
type Directory struct {
	Users  *restauth.Users
	Domain string // of names without one
}

// Party reads a name; see ParseParty.
func (d *Directory) Party(text string) (Party, bool) { return ParseParty(text, d.Domain) }

// Agent returns the party on whose behalf a user has calls placed. It is false for
// a user whose identity cannot be called, and for none.
func (d *Directory) Agent(u *restauth.User) (Party, bool) {
	if u == nil {
		return Party{}, false
	}
	return d.Party(u.Identity)
}

// KeyOf returns the name of p in a key: a user of ours is the same by each of his
// aliases.
func (d *Directory) KeyOf(p Party) string {
	if strings.EqualFold(p.Host, d.Domain) {
		if user, ok := d.Users.Lookup(p.User); ok {
			if identity, ok := d.Agent(user); ok {
				p = identity
			}
		}
	}
	return p.AOR()
}

// Forbidden returns what a client may be told of a call that must not be placed,
// sipflow.ErrForbidden: which rule of his policy says so, where one does.
func Forbidden(err error) string {
	var why *policy.Refusal
	if errors.As(err, &why) {
		return why.Error()
	}
	return "The call is not allowed"
}
