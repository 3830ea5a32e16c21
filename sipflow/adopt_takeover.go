package sipflow

import (
	"context"
	"errors"
	"fmt"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// What comes of a call that is taken over.
const (
	TakenKept   = "kept"    // its phones are this node's
	TakenHungUp = "hung_up" // nobody rings or talks any more
	TakenLost   = "lost"    // a phone did not respond, or cannot be reached
)

// takeover is a call that is taken over from another node. It belongs to the call's
// goroutine.
type takeover struct {
	sw    *Switchboard
	state *callState
	keep  bool
	jump  uint32 // of the numbers of our requests
	done  func(result string, err error)

	call *Call
	legs []*takenLeg
}

// takenLeg is a leg as the other node has left it.
type takenLeg struct {
	*Leg
	was *keptLeg
}

// hasMedia reports whether the owner of a call whose media ended at the other node has
// media here in their place: see Config.Resume.
func (t *takeover) hasMedia() bool {
	end := t.call.Spec.Converse
	return t.state.step == stepMedia && end != nil && end.Offer != nil
}

// told tells once what came of it.
func (t *takeover) told(result string, err error) {
	if done := t.done; done != nil {
		t.done = nil
		done(result, err)
	}
}

// over waits until the phones have been hung up, and tells what came of that. why is what
// the flow returns.
func (t *takeover) over(why error) {
	c, result := t.call, TakenHungUp
	var failed error
	for _, wait := range c.byes {
		if err := wait(); err != nil && !errors.As(err, new(*StatusError)) {
			result, failed = TakenLost, errors.Join(failed, err)
		}
	}
	c.byes = nil
	if failed == nil {
		failed = why
	}
	t.told(result, failed)
}

// path is how a hop is reached from here.
func (t *takeover) path(ctx context.Context, hop resolve.Hop) (transport.Path, error) {
	if hop.Transport == "" {
		return transport.Path{}, errUnsent
	}
	ctx, stop := context.WithTimeout(ctx, placeTime)
	defer stop()
	p, err := t.sw.transport.Path(ctx, hop)
	if err != nil {
		return p, unreachable(fmt.Errorf("%s: %w", hop, err))
	}
	return p, nil
}

// isUp reports whether the phone has answered, or has been.
func (l *takenLeg) isUp() bool { return l.was.at == atUp || l.was.at == atAccepted }

// seated is the leg in a seat that has not ended; nil for none.
func (t *takeover) seated(seat legSeat) *takenLeg {
	for _, l := range t.legs {
		if l.was.seat == seat && l.was.at != atOver {
			return l
		}
	}
	return nil
}

// takenPhone is the phone of a call that another node had, and by what right that has
// called it.
type takenPhone struct {
	*userPhone
	by   right
	kind calleeKind
	in   *Incoming // of a caller
}

func (p *takenPhone) secret() (*Credentials, string, bool) {
	return &p.by.cred, p.by.realm, p.by.anyRealm
}

func (p *takenPhone) servers() secretServers { return p.by.servers }

func (p *takenPhone) caller() *Incoming { return p.in }

func (p *takenPhone) asked(s *shard, m *wire.Message, from transport.Path) int {
	if p.in == nil {
		return 0
	}
	return p.in.takes(s, m, from)
}

func (p *takenPhone) passwordKey() string {
	switch {
	case p.by.servers.kind == ofGateway:
		return "dialout.gateway.user"
	case p.sw != nil && (*Call)(p.userPhone).in != nil:
		return "dispatch.agent"
	}
	return p.userPhone.passwordKey()
}
