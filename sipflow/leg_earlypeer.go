package sipflow

import (
	"time"

	"sipxrest/sipflow/wire"
)

// earlyPeers are the phones that our first INVITE rings, as far as their requests are
// concerned: each has a dialog of its own (RFC 3261 §12.1.2). One of them picks up, and
// that dialog becomes the leg's. The others stay for a while, since their 2xx may be on
// the way. It belongs to the sockets' readers, by peer.mu.
type earlyPeers struct {
	of   []earlyPeer // at most maxEarly
	over time.Duration
}

type earlyPeer struct {
	tag    string
	seq    uint32 // highest CSeq of its requests
	secure bool   // rung over TLS or WSS
	offer  offerState
	next   uint8 // of past
	past   [2]answered
}

// offerState is how far offer and answer are in an early dialog.
type offerState uint8

const (
	nothingOffered offerState = iota
	ourOffer                  // in the INVITE
	theirOffer                // in a reliable provisional response
	answeredOffer
)

// take notes a provisional response to an INVITE, which may have made a dialog.
func (d *earlyPeers) take(m *wire.Message, secure, offers bool) {
	e := d.with(m.ToTag())
	if e == nil {
		if len(m.ToTag()) == 0 || m.Code() == 100 || len(d.of) == maxEarly {
			return
		}
		d.of = append(d.of, earlyPeer{tag: string(m.ToTag()), secure: secure})
		e = &d.of[len(d.of)-1]
		if offers {
			e.offer = ourOffer
		}
	}
	if _, reliable := reliableSeq(m); reliable && bodyOf(m) != nil {
		switch e.offer {
		case nothingOffered:
			e.offer = theirOffer
		case ourOffer:
			e.offer = answeredOffer
		}
	}
}

func (d *earlyPeers) with(tag []byte) *earlyPeer {
	for i := range d.of {
		if e := &d.of[i]; e.tag == string(tag) {
			return e
		}
	}
	return nil
}
