package sipflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"sipxrest/internal/digest"
	"sipxrest/resolve"
	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// An Account is a user as a SIP server knows him.
type Account struct {
	Address     string // of record, "201@example.com", escaped for a SIP URI
	Credentials Credentials
}

// A Probe is a request outside of any dialog that changes nothing at the server.
type Probe struct {
	// Method is OPTIONS (RFC 3261 §11), or REGISTER, which without a Contact asks
	// for the bindings of As (§10.2.3).
	Method string
	// Domain is whose server is asked, for the Request-URI. Empty: the server is
	// asked about itself.
	Domain string
	// As is in whose name it is sent; the zero Account is nobody's. Its
	// credentials are for a challenge of Config.Realm.
	As Account
}

// Found is a server's response to a Probe.
type Found struct {
	Code   int // status of the last final response
	Reason string
	// Realm is that of the first challenge, "" if there was none.
	Realm string
	// Denied says why a challenge got no credentials, or they were refused; "" for
	// none.
	Denied string
	// Bindings is how many contacts a REGISTER found.
	Bindings int

	over transport.Link
	res  *wire.Message
}

// Probe sends a probe to a hop, and once more with credentials where it is asked
// for them. It waits as long as ctx, at most 32 s for each response.
func (sw *Switchboard) Probe(ctx context.Context, hop resolve.Hop, p Probe) (*Found, error) {
	return sw.probe(ctx, hop, &p)
}

func (sw *Switchboard) probe(ctx context.Context, hop resolve.Hop, p *Probe) (*Found, error) {
	over, err := sw.transport.Path(ctx, hop)
	if err != nil {
		return nil, err
	}
	d := sw.outside(over, hop, p)
	proof := auth{cred: &p.As.Credentials, realm: sw.cfg.Realm}
	if p.As.Address == "" {
		proof.cred = nil
	}
	found := &Found{over: over.Link}
	for seq := uint32(1); ; seq++ {
		res, err := sw.ask(ctx, over, d, p.Method, seq, proof.lines())
		if err != nil {
			return nil, err
		}
		found.res, found.Code, found.Reason, found.Denied = res, res.Code(), string(res.Reason()), ""
		if found.Code != 401 && found.Code != 407 {
			break
		}
		if found.Realm == "" {
			found.Realm = realmOf(res)
		}
		if proof.cred == nil {
			return found, nil
		}
		if !proof.answer(res, p.Method, d.target) {
			found.Denied = proof.why
			return found, nil
		}
	}
	for v := range found.res.All(wire.Contact) {
		wire.Split(v, func([]byte) bool { found.Bindings++; return true })
	}
	return found, nil
}

var errNoUser = errors.New("no user and host of a SIP URI")

// ProbeUser sends OPTIONS towards a user (user@host as it goes on the wire), by the way
// that an INVITE for him would go, and waits 10 s at most. hop is the server that was
// asked last. The credentials of as are for a challenge of Config.Realm, by an outbound
// proxy or a server of his own domain. ErrUnreachable means that nobody responded.
func (sw *Switchboard) ProbeUser(ctx context.Context, user string, as Account) (found *Found, hop resolve.Hop, err error) {
	ctx, stop := context.WithTimeoutCause(ctx, phoneTime, ErrPhoneTimeout)
	defer stop()
	to := "sip:" + user
	if !uri.IsPlain(to) {
		return nil, hop, fmt.Errorf("probe %q: %w", user, errNoUser)
	}
	hops, err := (&Call{Spec: Spec{Key: Key{Agent: as.Address}}, sw: sw}).namedHops(ctx, to)
	if err != nil {
		return nil, hop, unreachable(err)
	}
	ours, err := sw.nextHops(ctx, "sip:"+as.Address)
	if err != nil || as.Address == "" {
		ours = nil
	}
	var failed error
	for i := range hops {
		hop = hops[i]
		p := Probe{Method: "OPTIONS", Domain: user, As: as}
		if !slices.ContainsFunc(ours, func(h resolve.Hop) bool { return h.Addr.Addr() == hop.Addr.Addr() }) {
			p.As.Credentials = Credentials{}
		}
		found, err := sw.probeOne(ctx, hop, &p, i+1 < len(hops))
		switch {
		case err == nil && (found.Code != 503 || i+1 == len(hops)):
			return found, hop, nil
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("%s: %w", hop, err))
		}
	}
	return nil, hop, unreachable(failed)
}

// probeOne is probe for as long as a health check waits where there are others to ask.
func (sw *Switchboard) probeOne(ctx context.Context, hop resolve.Hop, p *Probe, others bool) (*Found, error) {
	if others {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, sw.cfg.HealthTimeout)
		defer stop()
	}
	return sw.probe(ctx, hop, p)
}

// outside holds the fields of a probe in the shape of a dialog, though there is
// none.
func (sw *Switchboard) outside(over transport.Path, hop resolve.Hop, p *Probe) *dialog {
	d := &dialog{callID: string(appendID(nil, newID())) + "@" + sw.host}
	if p.Domain == "" {
		d.target = "sip:" + hop.Addr.String()
		if over.Link.Reliable() {
			d.target = string(transport.AppendParam([]byte(d.target), over.Link))
		}
	} else {
		d.target, d.routes = "sip:"+p.Domain, routeTo(over)
	}
	_, host := over.Link.Local()
	d.local = "<sip:" + cmp.Or(p.As.Address, "callcontroller@"+host) + ">;tag=" + string(appendID(nil, newID()))
	if d.remote = "<" + d.target + ">"; p.Method == "REGISTER" {
		d.remote = "<sip:" + p.As.Address + ">"
	}
	return d
}

// ask sends one request and waits for its response.
func (sw *Switchboard) ask(ctx context.Context, over transport.Path, d *dialog, method string, seq uint32, credentials string) (*wire.Message, error) {
	done := make(chan event, 1)
	tx := &clientTx{id: newID(), method: method, path: over, seq: seq, onEvent: func(e event) { done <- e }}
	r := outgoing{method: method, header: "Accept: " + sdp.Type + "\r\n"}
	if err := sw.start(tx, d.request(over.Link, &r, seq, tx.id, credentials)); err != nil {
		return nil, err
	}
	select {
	case e := <-done:
		if errors.Is(e.err, errTimeout) {
			return nil, ErrUnreachable
		}
		return e.msg, e.err
	case <-ctx.Done():
		sw.forget(tx)
		return nil, context.Cause(ctx)
	}
}

// A Proof answers challenges as Switchboard.Probe does, for a probe that another user
// agent sends: only those of one realm, and the same nonce once.
type Proof struct{ auth auth }

// NewProof returns the proof of an account for a realm.
func NewProof(realm string, a Account) *Proof {
	return &Proof{auth{cred: &a.Credentials, realm: realm}}
}

// Answer chooses one of the challenges of a 401 or 407 and returns it with the
// credentials for it. If there is none, denied says why.
func (p *Proof) Answer(challenges []string, method, uri string) (c digest.Challenge, credentials, denied string) {
	if p.auth.tries >= maxChallenges {
		return c, "", whyRefused
	}
	c, credentials, ok := p.auth.choose(func(yield func([]byte) bool) {
		for _, v := range challenges {
			if !yield([]byte(v)) {
				return
			}
		}
	}, method, uri)
	if !ok {
		return c, "", p.auth.why
	}
	return c, credentials, ""
}

// realmOf is the realm of the first challenge that can be read.
func realmOf(res *wire.Message) string {
	in := wire.WWWAuthenticate
	if res.Code() == 407 {
		in = wire.ProxyAuthenticate
	}
	for v := range res.All(in) {
		if c, ok := digest.ParseChallenge(string(v)); ok {
			return c.Realm
		}
	}
	return ""
}
