package sipflow

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// lines that some phones send, and that are no header fields.
var unreadableFields = []string{"User Agent: Phone 1.0\r\n", "P-Vendor\r\n", "X/Stat: 1\r\n", "Subject: x\ry\r\n", ": x\r\n"}

// A phone's response with a field that cannot be read is its response.
func TestAnAnswerWithAFieldThatCannotBeReadIsTaken(t *testing.T) {
	for _, line := range unreadableFields {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			p := rawUDP(t, n, phoneAddr)
			r := newRig(t, n, phoneAddr)
			defer r.stop()
			c := r.place(spec())
			p.invite = p.expect("INVITE")
			p.send(p.response(p.invite, 180, line, ""))
			p.send(p.response(p.invite, 200, line+p.contact(), ""))
			p.expect("ACK")
			p.send(p.response(p.expect("REFER"), 202, p.contact()+line, ""))
			p.wants(200, strings.Replace(p.notify(1, "180 Ringing", "active"), "Event:", line+"Event:", 1))
			p.send(p.response(p.expect("BYE"), 200, line, ""))
			<-c.Done()
			if c.Err() != nil {
				t.Errorf("%q: the call ended with %v", line, c.Err())
			}
			r.empty()
		})
	}
}

// What a phone of a bridge writes that is no field goes no further.
func TestAFieldThatCannotBeReadIsNotPassedOn(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		for i, line := range unreadableFields {
			p.a.send(p.a.inDialog("INFO", i+1, "X-Good: 1\r\n"+line, ""))
			m := p.b.expect("INFO")
			word, _, _ := strings.Cut(strings.Trim(line, "\r\n: "), " ")
			if s := string(m.Raw()); !strings.Contains(s, "X-Good: 1\r\n") || strings.Contains(s, word) && line != ": x\r\n" {
				t.Errorf("%q goes on as\n%s", line, s)
			}
			p.b.send(p.b.response(m, 200, line+"X-Good: 2\r\n", ""))
			if s := string(p.a.response1(200).Raw()); !strings.Contains(s, "X-Good: 2\r\n") || strings.Contains(s, word) && line != ": x\r\n" {
				t.Errorf("%q comes back as\n%s", line, s)
			}
		}
		p.hangUp()
	})
}

// A caller whose INVITE has such a field is connected.
func TestInboundINVITEWithAFieldThatCannotBeReadIsTaken(t *testing.T) {
	for _, line := range unreadableFields {
		inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
			p.rawPhone.send(rawInvite("Max-Forwards", line+"Max-Forwards"))
			res := p.final("INVITE", 200)
			p.rawPhone.send(within(res, "ACK", 1, "", ""))
			p.rawPhone.send(within(res, "BYE", 2, line, ""))
			p.final("BYE", 200)
			for _, q := range p.rig.net.Packets() {
				if s := string(q.Data); q.From.String() == ourAddr && (strings.Contains(s, "Phone 1.0") || strings.Contains(s, "P-Vendor") ||
					strings.Contains(s, "X/Stat")) {
					t.Errorf("%q goes on:\n%s", line, s)
				}
			}
		})
	}
}

// Responses go to the port of the Via, however it is written.
func TestAViaIsReadHoweverItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		sender, listener := rawUDP(t, n, "10.0.0.66:4711"), rawUDP(t, n, "10.0.0.66:5066")
		for _, via := range []string{"phone.lan : 5066;branch=z9hG4bKs", "phone.lan\t:\t5066 ; branch = z9hG4bKs",
			"[2001:db8::1] : 5066;branch=z9hG4bKs", "10.0.0.66 :5066;branch=z9hG4bKs;",
			"phone.lan: 5066;branch=z9hG4bKs ; ", "10.0.0.66:5066;branch=z9hG4bKs;, SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKt;"} {
			sender.send(stranger("OPTIONS", "", "phone.lan:5066;branch=z9hG4bKs;rport", via))
			if m := listener.read(time.Second); m == nil || m.Code() != 200 || !strings.Contains(string(m.Get(wire.Via)),
				strings.TrimRight(strings.Split(via, ",")[0], "; ")) {
				t.Errorf("Via %s: its port got %s", via, show(m))
			}
			sender.send(stranger("OPTIONS", "", "phone.lan:5066;branch=z9hG4bKs;rport", strings.Replace(via, ";", ";rport;", 1)))
		}
		for m := sender.read(time.Second); m != nil; m = sender.read(time.Second) {
			if m.Code() != 200 {
				t.Errorf("got %s", show(m))
			}
		}
	})
}

// A Contact that is not written as the RFC wants leads to the phone all the same.
func TestAContactIsReadAsItIsMeant(t *testing.T) {
	for contact, want := range map[string]string{
		"Doe, John <sip:201@10.0.0.2:5060>":            "sip:201@10.0.0.2:5060",
		"Doe, John <sip:201@10.0.0.2:5060>;expires=60": "sip:201@10.0.0.2:5060",
		"John; Doe <sip:201@10.0.0.2:5060>":            "sip:201@10.0.0.2:5060",
		`"John <sip:201@10.0.0.2:5060>`:                "sip:201@10.0.0.2:5060",
		"<sip:john doe@10.0.0.2:5060>":                 "sip:john%20doe@10.0.0.2:5060",
		"<sip:john@home@10.0.0.2:5060>":                "sip:john@home@10.0.0.2:5060",
		"sip:john doe@10.0.0.2:5060":                   "sip:john%20doe@10.0.0.2:5060",
	} {
		synctest.Test(t, func(t *testing.T) { // of a response
			n := siptest.NewNetwork()
			p := rawUDP(t, n, phoneAddr)
			r := newRig(t, n, phoneAddr)
			defer r.stop()
			c := r.place(spec())
			p.invite = p.expect("INVITE")
			p.send(p.response(p.invite, 200, "Contact: "+contact+"\r\n", ""))
			if uri := string(p.expect("ACK").URI()); uri != want {
				t.Errorf("%s: ACK %s", contact, uri)
			}
			p.send(p.response(p.expect("REFER"), 202, p.contact(), ""))
			p.wants(200, p.notify(1, "180 Ringing", "active"))
			p.hungUp()
			<-c.Done()
			if c.Err() != nil {
				t.Errorf("%s: the call ended with %v", contact, c.Err())
			}
			r.empty()
		})
		inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) { // of an INVITE
			p.rawPhone.send(rawInvite("Contact: <sip:201@10.0.0.2:5060>", "Contact: "+contact))
			res := p.final("INVITE", 200)
			p.rawPhone.send(strings.Replace(within(res, "ACK", 1, "", ""), "Contact: <sip:201@10.0.0.2:5060>", "Contact: "+contact, 1))
			p.target.HangUp()
			if m := p.rawPhone.hungUp(); string(m.URI()) != want {
				t.Errorf("%s: BYE %s", contact, m.URI())
			}
		})
	}
	// What leads nowhere, or to somebody else, is none.
	for _, contact := range []string{"<sip:a@>", "John <http://x>", "<sip:a@b@c d>", "sip:x@10.0.0.2 <y>", "<sip:a b", "<sip:a@[::1>",
		"John Doe", ", , <>"} {
		inboundRaw(t, func(context.Context, *Incoming) error { t.Errorf("%s is taken", contact); return nil }, func(t *testing.T, p *rawInbound) {
			p.rawPhone.send(rawInvite("Contact: <sip:201@10.0.0.2:5060>", "Contact: "+contact))
			p.next(400)
		})
	}
}
