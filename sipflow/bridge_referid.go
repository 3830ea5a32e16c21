package sipflow

import (
	"bytes"
	"slices"
	"strconv"

	"sipxrest/sipflow/wire"
)

// maxReferrals bounds the REFERs of a bridge whose NOTIFYs can be told apart.
const maxReferrals = 8

// referral is a REFER that was passed on. Its subscription is known to each
// phone by the CSeq that the REFER had there (RFC 3515 §2.4.6).
type referral struct {
	to        *Leg
	near, far uint32
}

// referred remembers a REFER that is on its way. One that is challenged has a
// new CSeq each time.
func (b *bridge) referred(r *forward) {
	if r.in == nil || r.in.method != "REFER" {
		return
	}
	if len(b.referrals) == maxReferrals {
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
