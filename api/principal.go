package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"sipxrest/event"
	"sipxrest/internal/limit"
	"sipxrest/restauth"
)

// A Scope is something that one may do.
type Scope string

// The scopes.
const (
	CallsRead      Scope = "calls:read"
	CallsWrite     Scope = "calls:write"
	EventsRead     Scope = "events:read"
	Check          Scope = "check"
	UsersRead      Scope = "users:read"
	CDRsRead       Scope = "cdrs:read"
	WebhooksManage Scope = "webhooks:manage"
	WebhooksCall   Scope = "webhooks:call"
	Admin          Scope = "admin" // all of them
)

// Scopes are all that there are.
var Scopes = []Scope{CallsRead, CallsWrite, EventsRead, Check, UsersRead, CDRsRead, WebhooksManage, WebhooksCall, Admin}

var (
	userScopes  = []Scope{CallsRead, CallsWrite, EventsRead, Check, CDRsRead}
	phoneScopes = []Scope{CallsRead, CallsWrite, EventsRead}
)

// PrincipalType is how somebody has proved who he is.
type PrincipalType string

// The types of principals.
const (
	PrincipalUser  PrincipalType = "user"  // by his PIN
	PrincipalPeer  PrincipalType = "peer"  // by its address; acts for a user
	PrincipalKey   PrincipalType = "key"   // an API key
	PrincipalPhone PrincipalType = "phone" // a user of the phone over WebSocket, by his token
)

// A Principal is who asks. It is not changed once a request has it.
type Principal struct {
	Type PrincipalType
	// Name is the user's, the key's, the phone user's or the peer's address.
	Name string
	// Agent is the user on whose behalf it acts: of a user himself; of a peer and
	// a key whom "agent" names, else nil.
	Agent  *restauth.User
	Scopes []Scope
	// Key is that of PrincipalKey, else nil.
	Key *Key
	// WebhookSecret signs webhooks of single calls that a key asks for.
	WebhookSecret string
	// Phone is that of PrincipalPhone, else nil.
	Phone *PhoneUser
	Addr  netip.Addr

	token [sha256.Size]byte // of a key or a phone
}

// A PhoneUser is a user of the phone over WebSocket.
type PhoneUser struct {
	Username string
	SIP      string // user@host of his SIP phone; "" for none
}

// String names the principal in a sentence.
func (p *Principal) String() string {
	switch p.Type {
	case PrincipalKey:
		return "The key " + p.Name
	case PrincipalPhone:
		return "The phone user " + p.Name
	case PrincipalPeer:
		return "The peer " + p.Name
	}
	return p.Name
}

// Has reports whether the principal has a scope.
func (p *Principal) Has(s Scope) bool {
	return slices.Contains(p.Scopes, s) || slices.Contains(p.Scopes, Admin)
}

// rateName is what its requests are counted by, and its idempotency keys kept by.
func (p *Principal) rateName() string {
	if p == nil {
		return ""
	}
	if p.Type == PrincipalPeer && p.Agent != nil {
		return "user:" + p.Agent.Name // it acts as he does
	}
	return string(p.Type) + ":" + p.Name
}

// Actor is the principal in what is told of a call.
func (p *Principal) Actor(requestID string) event.Actor {
	return event.Actor{Type: string(p.Type), Name: p.Name, RequestID: requestID}
}

// lacks refuses a request for want of a scope, and says who can have it.
func (p *Principal) lacks(s Scope) *Problem {
	why := refuse(MissingScope, p.String(), s)
	switch {
	case p.Type == PrincipalKey:
		return why.because("Scopes are given when a key is made: sipxrest key add --scopes.")
	case slices.Contains(userScopes, s):
		return why
	}
	return why.because("Users cannot have it; ask with an API key (sipxrest key add --scopes " + string(s) + ").")
}

// everyAgent is the item of a key's list of agents that means all.
const everyAgent = "*"

// MayActFor reports whether the principal may act on behalf of a user.
func (p *Principal) MayActFor(u *restauth.User) bool {
	switch p.Type {
	case PrincipalUser:
		return p.Agent.Name == u.Name
	case PrincipalPeer:
		return p.Agent == nil || p.Agent.Name == u.Name
	case PrincipalKey:
		return p.Key.hasAgent(u)
	}
	return false
}

// actAs returns the user on whose behalf the principal acts: whom the body names,
// else whom the query does.
func (a *API) actAs(p *Principal, named string) (*restauth.User, *Problem) {
	u := p.Agent
	if named != "" {
		var ok bool
		if u, ok = a.users.Lookup(named); !ok {
			if p.Type == PrincipalUser || p.Type == PrincipalPhone {
				return nil, refuse(WrongAgent, p.Name, clip(named, 64))
			}
			return nil, refuse(UnknownUser, clip(named, 64))
		}
	}
	switch {
	case u == nil && p.Type == PrincipalPhone:
		return nil, refuse(WrongAgent, p.Name, "anybody")
	case u == nil:
		return nil, refuse(AgentRequired)
	case !p.MayActFor(u):
		return nil, refuse(WrongAgent, p.Name, u.Name)
	}
	return u, nil
}

// who says who asks.
func (a *API) who(r *request, m *method) (*Principal, *Problem) {
	if token := bearer(r.Request); token != "" {
		if v := a.gate.Arrive(r.Request); !v.OK {
			return nil, a.judged(r.Request, &v)
		}
		return a.byToken(r, token)
	}
	if m.tickets {
		if text := ticketOf(r); text != "" {
			return a.byTicket(r, text)
		}
	}
	return a.byPIN(r, m)
}

// byPIN lets in a user who proves his PIN, or a trusted peer for a user.
func (a *API) byPIN(r *request, m *method) (*Principal, *Problem) {
	named, claimed := r.query.Get("agent"), restauth.Claim(r.Request)
	trusted := a.gate.Trusts(r.Request)
	name := claimed
	if name == "" || trusted && named != "" {
		name = named
	}
	v := a.gate.Judge(r.Request, name)
	p := &Principal{Agent: v.User, Scopes: userScopes, Addr: a.gate.Address(r.Request)}
	switch {
	case !v.OK:
		return nil, a.judged(r.Request, &v)
	case v.Trusted:
		p.Type, p.Name = PrincipalPeer, p.Addr.String()
		switch {
		case v.User == nil && name != "":
			return nil, refuse(UnknownUser, clip(name, 64))
		case v.User == nil && !m.laterAgent:
			return nil, refuse(AgentRequired)
		}
		return p, nil
	}
	p.Type, p.Name = PrincipalUser, v.User.Name
	if named != "" && !m.agentFilter {
		if u, ok := a.users.Lookup(named); !ok || u.Name != v.User.Name {
			return nil, refuse(WrongAgent, p.Name, clip(named, 64))
		}
	}
	return p, nil
}

// judged words what the gate refuses.
func (a *API) judged(r *http.Request, v *restauth.Verdict) *Problem {
	var p *Problem
	switch v.Status {
	case http.StatusUnauthorized:
		p = a.unauthenticated(r)
		switch v.Why {
		case restauth.WrongPIN:
			if strings.HasPrefix(restauth.Claim(r), keyPrefix) {
				return p.because("An API key is no user name: send it as Authorization: Bearer.")
			}
			p.because("The PIN, or the user, is wrong.")
		case restauth.NoCredentials:
		default:
			p.because(strings.ToUpper(v.Text[:1]) + v.Text[1:] + ".")
		}
	case http.StatusTooManyRequests:
		return refuse(TooManyWrongPINs).after(v.Wait)
	case http.StatusServiceUnavailable:
		return refuse(Overloaded, "PINs to check").after(v.Wait)
	case http.StatusMisdirectedRequest:
		return refuse(WrongHost)
	default:
		if v.Why == restauth.CrossSite {
			return refuse(OriginNotAllowed, clip(cmpOr(r.Header.Get("Origin"), "other sites"), 128))
		}
		return refuse(NotTrusted)
	}
	for _, c := range v.Challenges {
		p.with("WWW-Authenticate", c)
	}
	return p
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// unauthenticated says which proofs the listener of r takes.
func (a *API) unauthenticated(r *http.Request) *Problem {
	pin, key := "Digest", "over TLS"
	if a.gate.Secure(r) {
		pin = "Digest or Basic"
	}
	if a.secure(r) {
		key = "Authorization: Bearer sxk_…"
	} else if a.cfg.TLSPort != "" {
		key = "over TLS, port " + a.cfg.TLSPort
	}
	return refuse(Unauthenticated, pin, key)
}

// bearer is the token that r brings: in its Authorization, or, since pages can set
// none for a WebSocket, as a subprotocol.
func bearer(r *http.Request) string {
	if given := r.Header["Authorization"]; len(given) == 1 {
		name, token, _ := strings.Cut(strings.TrimSpace(given[0]), " ")
		if strings.EqualFold(name, "Bearer") {
			return cmpOr(strings.TrimSpace(token), "none")
		}
		return ""
	}
	for _, p := range subprotocols(r) {
		if token, ok := strings.CutPrefix(p, "bearer."); ok {
			return cmpOr(token, "none")
		}
	}
	return ""
}

// subprotocols are those that a WebSocket's client offers.
func subprotocols(r *http.Request) (all []string) {
	if r.Header.Get("Upgrade") == "" {
		return nil
	}
	for _, line := range r.Header["Sec-Websocket-Protocol"] {
		for item := range strings.SplitSeq(line, ",") {
			all = append(all, strings.TrimSpace(item))
		}
	}
	return all
}

// secure reports whether nobody on the way could read what r brings: TLS, or a
// connection that never left this machine. A reverse proxy there says whether it
// had TLS.
func (a *API) secure(r *http.Request) bool {
	if a.gate.Secure(r) {
		return true
	}
	socket, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && socket.Addr().Unmap().IsLoopback() && !strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "http")
}

// maxWrongTokens is how many tokens of one address may be wrong in a minute.
const maxWrongTokens = 100

// byToken lets in who has an API key, or a token of the phone over WebSocket.
func (a *API) byToken(r *request, token string) (*Principal, *Problem) {
	if !a.secure(r.Request) {
		at := ""
		if a.cfg.TLSPort != "" {
			at = ", port " + a.cfg.TLSPort
		}
		return nil, refuse(TLSRequired, at)
	}
	p := &Principal{Addr: a.gate.Address(r.Request), token: sha256.Sum256([]byte(token))}
	why := "It is none of the keys here."
	if strings.HasPrefix(token, keyPrefix) {
		k := a.cfg.Keys.find(p.token)
		switch {
		case k == nil:
		case !k.Expires.IsZero() && !a.cfg.Now().Before(k.Expires):
			why = "The key has expired."
		case len(k.Networks) > 0 && !limit.Within(k.Networks, p.Addr):
			why = "The key is not taken from this address."
		default:
			p.Type, p.Name, p.Scopes, p.Key, p.WebhookSecret = PrincipalKey, k.Name, k.Scopes, k, webhookSecret(token)
			if named := r.query.Get("agent"); named != "" && !r.how.agentFilter {
				u, ok := a.users.Lookup(named)
				switch {
				case !k.hasAgent(u):
					return nil, refuse(WrongAgent, "The key "+p.Name, clip(named, 64))
				case !ok:
					return nil, refuse(UnknownUser, clip(named, 64))
				}
				p.Agent = u
			}
			return p, nil
		}
	} else if a.cfg.Phone != nil {
		if u, ok := a.cfg.Phone(r.Context(), token); ok {
			p.Type, p.Name, p.Scopes, p.Phone = PrincipalPhone, u.Username, phoneScopes, &u
			if named := r.query.Get("agent"); named != "" && !r.how.agentFilter {
				return nil, refuse(WrongAgent, p.Name, clip(named, 64))
			}
			return p, nil
		}
		why = "It is no token of a user here."
	}
	who := limit.Suspect{Addr: p.Addr, Name: "with a token", Most: maxWrongTokens}
	if wait := a.guesses.Settle(a.cfg.Now(), false, who); wait > 0 {
		return nil, refuse(TooManyWrongPINs).after(wait)
	}
	return nil, a.unauthenticated(r.Request).because(why).with("WWW-Authenticate", a.challenge("invalid_token"))
}

// challenge asks for another token (RFC 6750 §3).
func (a *API) challenge(what string) string {
	return fmt.Sprintf(`Bearer realm="%s", error="%s"`, a.cfg.Domain, what)
}

// still reports whether a principal may read on: its key was not revoked or changed,
// its user not removed since. Whoever has a changed key comes back with its new rights.
func (a *API) still(ctx context.Context, p *Principal, token string) bool {
	switch p.Type {
	case PrincipalKey:
		k := a.cfg.Keys.find(p.token)
		return k != nil && k.grants(p.Key) && (k.Expires.IsZero() || a.cfg.Now().Before(k.Expires))
	case PrincipalPhone:
		if a.cfg.Phone == nil {
			return false
		}
		_, ok := a.cfg.Phone(ctx, token)
		return ok
	}
	if p.Agent == nil {
		return true
	}
	_, ok := a.users.Lookup(p.Agent.Name)
	return ok
}

// Access is what somebody may do with a call.
type Access int

const (
	// NoAccess: there is no such call for him.
	NoAccess Access = iota
	// AsParty: he sees it, and may hang up his own leg.
	AsParty
	// AsAgent: it is his.
	AsAgent
)

// Access returns what the principal may do with a call.
func (a *API) Access(p *Principal, c *event.Call) Access {
	switch p.Type {
	case PrincipalPhone:
		for i := range c.Legs {
			if l := &c.Legs[i]; partyOf(c, l) && (p.Phone.is(l.Address)) {
				return AsParty
			}
		}
		return NoAccess
	case PrincipalKey:
		if p.Agent == nil {
			if p.Key.everybody() {
				return AsAgent
			}
			best := NoAccess
			for _, name := range p.Key.Agents {
				if u, ok := a.users.Lookup(name); ok {
					best = max(best, a.accessOf(u, c))
				}
			}
			return best
		}
	}
	if p.Agent == nil {
		return NoAccess
	}
	return a.accessOf(p.Agent, c)
}

func (a *API) accessOf(u *restauth.User, c *event.Call) Access {
	if a.isUser(u, c.Agent) {
		return AsAgent
	}
	for i := range c.Legs {
		if partyOf(c, &c.Legs[i]) && a.isUser(u, c.Legs[i].Address) {
			return AsParty
		}
	}
	return NoAccess
}

// partyOf reports whether a leg is that of a party: of whoever is called for a
// transfer it is not until he is joined.
func partyOf(c *event.Call, l *event.Leg) bool {
	switch l.Role {
	case event.RoleTarget:
		return c.Kind == event.Inbound
	case event.RoleConsult:
		return false
	}
	return true
}

// isUser reports whether an address is a user's, by his identity or a name of his.
func (a *API) isUser(u *restauth.User, address string) bool {
	if address == "" {
		return false
	}
	if strings.EqualFold(address, u.Identity) {
		return true
	}
	user, host, ok := strings.Cut(address, "@")
	if !ok || !strings.EqualFold(host, a.cfg.Domain) {
		return false
	}
	found, ok := a.users.Lookup(user)
	return ok && found.Name == u.Name
}

// is reports whether an address is the phone user's, or that of his SIP phone.
func (u *PhoneUser) is(address string) bool {
	name, _, _ := strings.Cut(address, "@")
	return strings.EqualFold(name, u.Username) && !strings.Contains(address, "@") ||
		u.SIP != "" && strings.EqualFold(address, strings.TrimPrefix(u.SIP, "sip:"))
}
