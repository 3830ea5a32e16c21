package sipflow

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// Each phone knows the subscription of a REFER by the CSeq that the REFER had
// in its own dialog (RFC 3515 §2.4.6): phones respond 481 to another id.
func TestTheSubscriptionOfARelayedReferKeepsItsNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bc := bridgeCase{
			name: "refer", called: siptest.Script{Refer: siptest.Refer{NoNotify: true}}, hangUp: time.Minute, err: ErrHungUpByUser.Error(),
			during: func(t *testing.T, r *rig, p *phones, c *Call) {
				time.Sleep(5 * time.Second)
				event := func(id uint32) []sip.Header {
					return []sip.Header{sip.NewHeader("Event", fmt.Sprintf("refer;id=%d", id))}
				}
				last := func(ph *siptest.Phone, method sip.RequestMethod) *sip.Request {
					all := ph.Requests(method)
					if len(all) == 0 {
						t.Fatalf("no %s came", method)
					}
					return all[len(all)-1]
				}
				for i := range 3 {
					if i > 0 { // the phones count apart
						do(t, p.calling, 200, siptest.Action{Method: "INFO"})
						do(t, p.called, 200, siptest.Action{Method: "INFO"})
						do(t, p.called, 200, siptest.Action{Method: "INFO"})
						do(t, p.calling, 200, siptest.Action{Method: "OPTIONS"})
					}
					do(t, p.calling, 202, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:203@sipx.test>")}})
					answers := p.calling.Answers()
					near, far := answers[len(answers)-1].CSeq().SeqNo, last(p.called, "REFER").CSeq().SeqNo
					if near == far {
						t.Logf("number %d on both sides proves nothing", near)
					}
					do(t, p.called, 200, siptest.Action{Method: "NOTIFY", Header: append(event(far), sip.NewHeader("Subscription-State", "active"))})
					if got, want := last(p.calling, "NOTIFY").GetHeader("Event").Value(), fmt.Sprintf("refer;id=%d", near); got != want {
						t.Errorf("NOTIFY: Event: %s, want %s", got, want)
					}
					do(t, p.calling, 0, siptest.Action{Method: "SUBSCRIBE", Header: event(near)})
					if got, want := last(p.called, "SUBSCRIBE").GetHeader("Event").Value(), fmt.Sprintf("refer;id=%d", far); got != want {
						t.Errorf("SUBSCRIBE: Event: %s, want %s", got, want)
					}
				}
				do(t, p.called, 0, siptest.Action{Method: "NOTIFY", Header: []sip.Header{sip.NewHeader("o", "message-summary")}})
				if got := last(p.calling, "NOTIFY").GetHeader("Event").Value(); got != "message-summary" {
					t.Errorf("NOTIFY of something else: Event: %s", got)
				}
			},
		}
		bc.run(t, siptest.NewNetwork(), true)
	})
}

func TestReferralsAreBounded(t *testing.T) {
	b := &bridge{}
	to, from := &Leg{}, &Leg{}
	for i := range uint32(100) {
		b.referred(&forward{in: &serverTx{method: "REFER", seq: 1000 + i}, to: to, attempt: &attempt{tx: &clientTx{seq: i}}})
	}
	if len(b.referrals) != maxReferrals {
		t.Errorf("%d are kept", len(b.referrals))
	}
	if near, far, old := b.referID(to, 99), b.referID(from, 1099), b.referID(to, 5); near != 1099 || far != 99 || old != 5 {
		t.Errorf("%d %d %d", near, far, old)
	}
}

// Two phones that one after the other were joined with the same one may give their REFERs
// the same number: what is told of each ends.
func TestReferralsOfSeveralPhonesEndEach(t *testing.T) {
	states := map[int]string{}
	record := newRecord(&sync.Mutex{}, func(e *Event) { states[e.Transfer.N] = e.Transfer.State }, StageConnected)
	b := &bridge{call: &Call{record: record}}
	to := &Leg{}
	for i, from := range []*Leg{{}, {}} {
		m, err := wire.Parse([]byte("REFER sip:x@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\n" +
			"To: <sip:b@x>;tag=2\r\nCall-ID: c\r\nCSeq: 5 REFER\r\nRefer-To: <sip:203@x>\r\nContent-Length: 0\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		r := &forward{in: &serverTx{method: "REFER", seq: 5, req: m}, from: from, to: to, attempt: &attempt{tx: &clientTx{seq: uint32(7 + i)}}}
		b.referred(r)
		b.referAccepted(r)
	}
	for i := range b.referrals {
		b.unreported(&b.referrals[i])
	}
	if len(states) != 2 || states[1] != TransferFailed || states[2] != TransferFailed {
		t.Errorf("told: %v", states)
	}
}
