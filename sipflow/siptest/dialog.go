package siptest

import (
	"net/netip"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"
)

type dialogState uint8

const (
	early dialogState = iota
	confirmed
	ended
)

// dialog is one side's view of a call (RFC 3261 §12). Guarded by its phone's lock.
type dialog struct {
	callID              string
	localTag, remoteTag string
	local, remote       string   // From and To values of our requests, with tags
	target              sip.Uri  // the peer's Contact
	routes              []string // route set
	cseq, remoteCSeq    uint32
	leftOut             uint32 // of a request that another overtakes
	state               dialogState

	invite     *serverTx // the INVITE that made it, when the peer called
	own        *clientTx // our INVITE that is pending, if any
	forks      []string  // To-tags of further early dialogs
	answered   bool      // 2xx sent or received
	acked      bool      // 2xx acknowledged
	upSince    time.Time // the first ACK came
	okCSeq     uint32    // number of the INVITE that our 2xx belongs to
	again      *timer    // repeats that 2xx until the ACK
	lostACKs   int
	timers     []*timer // what the script still wants to do
	sdpVersion int
	offered    string    // by the phone, without an answer yet
	stopped    bool      // it was refused a stream of OneTrack
	reinvite   *serverTx // the peer's INVITE without our final response
	rseq       uint32    // of our reliable provisional response
	unpracked  *timer    // repeats it; nil when its PRACK has come
	picksUp    bool      // its final response waits for that PRACK
	refers     int       // REFERs accepted
}

// uasDialog is the dialog that our response with this tag to invite makes.
func uasDialog(invite *serverTx, tag string) *dialog {
	req := invite.req
	d := &dialog{
		callID:     req.CallID().Value(),
		localTag:   tag,
		remoteTag:  fromTag(req),
		remote:     req.From().Value(),
		remoteCSeq: req.CSeq().SeqNo,
		routes:     headersOf(req, "Record-Route"),
		invite:     invite,
	}
	to := *req.To()
	to.Params = to.Params.Clone()
	to.Params.Remove("tag")
	d.local = withTag(to.Value(), tag)
	if c := req.Contact(); c != nil {
		d.target = c.Address
	}
	return d
}

// uacDialog is the dialog that res to our INVITE makes.
func uacDialog(invite *sip.Request, res *sip.Response) *dialog {
	d := &dialog{
		callID:    invite.CallID().Value(),
		localTag:  fromTag(invite),
		remoteTag: toTag(res),
		local:     invite.From().Value(),
		remote:    res.To().Value(),
		cseq:      invite.CSeq().SeqNo,
		routes:    headersOf(res, "Record-Route"),
	}
	slices.Reverse(d.routes)
	if c := res.Contact(); c != nil {
		d.target = c.Address
	}
	return d
}

// request builds a request within the dialog (RFC 3261 §12.2.1.1). An ACK
// takes the number of its INVITE.
func (d *dialog) request(method sip.RequestMethod, cseq uint32) *sip.Request {
	req := sip.NewRequest(method, d.target)
	for _, r := range d.routes {
		req.AppendHeader(sip.NewHeader("Route", r))
	}
	req.AppendHeader(sip.NewHeader("From", d.local))
	req.AppendHeader(sip.NewHeader("To", d.remote))
	req.AppendHeader(sip.NewHeader("Call-ID", d.callID))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	return req
}

func (d *dialog) nextCSeq() uint32 {
	d.cseq++
	return d.cseq
}

// hop is where requests of the dialog go: the first route, else the peer's
// Contact. Names are not resolved: or is taken for them.
func (d *dialog) hop(or netip.AddrPort) netip.AddrPort {
	uri := d.target
	if len(d.routes) > 0 {
		if u, _, err := address(d.routes[0]); err == nil {
			uri = u
		}
	}
	if a, ok := hop(uri); ok {
		return a
	}
	return or
}

// stop ends what the script still wants to do in the dialog.
func (d *dialog) stop() {
	for _, t := range d.timers {
		t.stop()
	}
	d.timers = nil
	d.again.stop()
	d.unpracked.stop()
	d.state = ended
}
