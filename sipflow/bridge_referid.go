package sipflow

import (
	"bytes"
	"slices"
	"strconv"

	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// maxReferrals bounds the REFERs of a bridge whose NOTIFYs can be told apart.
const maxReferrals = 8

// referral is a REFER that was passed on. Its subscription is known to each
// phone by the CSeq that the REFER had there (RFC 3515 §2.4.6).
type referral struct {
	to        *Leg
	near, far uint32
	report    *TransferReport // once it was accepted, and somebody observes; nil else
}

// referred remembers a REFER that is on its way. One that is challenged has a
// new CSeq each time.
func (b *bridge) referred(r *forward) {
	if r.in == nil || r.in.method != "REFER" {
		return
	}
	if len(b.referrals) == maxReferrals {
		b.unreported(&b.referrals[0])
		b.referrals = slices.Delete(b.referrals, 0, 1)
	}
	b.referrals = append(b.referrals, referral{to: r.to, near: r.in.seq, far: r.attempt.tx.seq})
}

// eventHeader is the Event of a NOTIFY or SUBSCRIBE that is passed on. The id
// of a REFER's subscription is the number that the receiver knows it by.
func (b *bridge) eventHeader(from *Leg, m *wire.Message) string {
	v := m.Get(wire.Event)
	if v == nil {
		return ""
	}
	event, params, _ := bytes.Cut(v, []byte(";"))
	value := string(v)
	if bytes.EqualFold(bytes.TrimSpace(event), []byte("refer")) {
		id, _ := wire.Param(append([]byte(";"), params...), "id")
		if seq, err := strconv.ParseUint(string(id), 10, 32); err == nil {
			value = "refer;id=" + strconv.FormatUint(uint64(b.referID(from, uint32(seq))), 10)
		}
	}
	return "Event: " + value + "\r\n"
}

func (b *bridge) referID(from *Leg, id uint32) uint32 {
	for _, r := range slices.Backward(b.referrals) {
		switch {
		case from == r.to && id == r.far:
			return r.near
		case from != r.to && id == r.near:
			return r.far
		}
	}
	return id
}

// referAccepted tells that a phone transfers the other one, which has accepted its REFER.
func (b *bridge) referAccepted(r *forward) {
	// By our number: another phone in the place of the first one may have used its number, too.
	i := slices.IndexFunc(b.referrals, func(o referral) bool { return o.to == r.to && o.far == r.attempt.tx.seq })
	if i < 0 || !b.isObserved() {
		return
	}
	b.transfers++
	target, _ := wire.NameAddr(r.in.req.Get(wire.ReferTo))
	t := &TransferReport{N: b.transfers, Mode: TransferByPhone, State: TransferDialling, Leaver: b.party(r.from), To: uri.AOR(string(target)),
		RequestedBy: r.from.record.number()}
	b.referrals[i].report = t
	b.call.record.transferred(t, nil, nil, nil)
}

// referReported tells what a phone reports of the call that it was sent to by REFER.
func (b *bridge) referReported(from *Leg, m *wire.Message) {
	if !b.isObserved() || m.Get(wire.Event) != nil && !isReferEvent(m.Get(wire.Event)) {
		return
	}
	for i := len(b.referrals) - 1; i >= 0; i-- {
		r := &b.referrals[i]
		if r.to != from || r.report == nil {
			continue
		}
		n := notificationOf(m)
		switch t := r.report; {
		case n.Code >= 300:
			r.report, t.State = nil, TransferFailed
			b.call.record.transferred(t, &sentError{&StatusError{"NOTIFY", n.Code, n.Reason}, ""}, from.record, nil)
		case n.Code >= 200:
			r.report, t.State, t.Place = nil, TransferCompleted, t.Leaver
			b.call.record.transferred(t, nil, nil, nil)
		case n.Code >= 180 && t.State == TransferDialling:
			t.State = TransferRinging
			b.call.record.transferred(t, nil, nil, nil)
		}
		return
	}
}

// unreported ends a transfer of whose outcome its phone has said nothing.
func (b *bridge) unreported(r *referral) {
	if t := r.report; t != nil {
		r.report, t.State = nil, TransferFailed
		b.call.record.transferred(t, ErrUnreported, r.to.record, nil)
	}
}
