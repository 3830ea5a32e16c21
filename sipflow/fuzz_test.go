package sipflow

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// FuzzReceive has a phone send anything while it is called, referred or
// bridged. Nothing panics, all that is sent can be read by every parser, and no
// message makes many. When the client hangs up nothing is left of the call.
//
// The input is what to do first and then messages, divided by a line of three
// dashes; one that begins with @ comes from the called phone. In a message
// $c is the Call-ID of the dialog, $p the phone's From value with its tag, $o
// ours, $v and $n the Via value the number and $m
// the method of our last request to it.
func FuzzReceive(f *testing.F) {
	const (
		request = " sip:callcontroller@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKx;rport\r\nFrom: $p\r\nTo: " +
			"$o\r\nCall-ID: $c\r\n"
		response = "\r\nVia: $v\r\nFrom: $o\r\nTo: $p\r\nCall-ID: $c\r\n"
		called   = "Contact: <sip:201@10.0.0.2:5060>\r\n"
	)
	for _, s := range []string{
		"SIP/2.0 180 Ringing" + response + "CSeq: $n INVITE\r\nRequire: 100rel\r\nRSeq: 1\r\n" + called + "\r\n---\nSIP/2.0 200 OK" + response +
			"CSeq: $n INVITE\r\n" + called + "Record-Route: <sip:10.0.0.2>, <sip:10.0.0.9;lr>\r\n\r\n",
		"SIP/2.0 407 No" + response + "CSeq: $n INVITE\r\nProxy-Authenticate: Digest realm=\"sipx.test\", nonce=\"n\"\r\n\r\n",
		"SIP/2.0 422 No" + response + "CSeq: $n INVITE\r\nMin-SE: 99\r\n\r\n---\nSIP/2.0 421 No" + response +
			"CSeq: $n INVITE\r\nRequire: 100rel\r\n\r\n",
		"NOTIFY" + request + "CSeq: 1 NOTIFY\r\nEvent: refer\r\nSubscription-State: terminated;reason=x\r\nContent-Type: message/sipfrag\r\n" +
			"\r\nSIP/2.0 486 Busy\r\n",
		"BYE" + request + "CSeq: 2 BYE\r\nReason: SIP;cause=200;text=\"x\"\r\n\r\n---\n@BYE" + request + "CSeq: 2 BYE\r\n\r\n",
		"INVITE" + request + "CSeq: 3 INVITE\r\n" + called + "Session-Expires: 90;refresher=uac\r\nContent-Type: application/sdp\r\n\r\n" +
			twoStreams + "---\nCANCEL" + request + "CSeq: 3 CANCEL\r\n\r\n",
		"REFER" + request + "CSeq: 4 REFER\r\n" + called + "Refer-To: <sip:203@x?Replaces=$c%3Bto-tag%3Dx%3Bfrom-tag%3Dy>\r\n\r\n---\n@NOTIFY" +
			request + "CSeq: 5 NOTIFY\r\nEvent: refer;id=2\r\nSubscription-State: active\r\n\r\n",
		"INFO" + request + "CSeq: 6 INFO\r\nP-Asserted-Identity: <sip:a@b>\r\nX: \x00\r\nContent-Type: text/plain\r\n\r\n5---\n@SIP/2.0 200 OK" +
			response + "CSeq: $n INFO\r\n\r\n",
		"UPDATE" + request + "CSeq: 7 UPDATE\r\n" + called + "Supported: timer\r\nSession-Expires: 60\r\n\r\n",
		"SIP/2.0 200 OK" + response + "CSeq: $n INVITE\r\n" + called + "\r\n---\nSIP/2.0 200 OK\r\nVia: $v\r\nFrom: $o\r\nTo: $p2\r\nCall-ID: " +
			"$c\r\nCSeq: $n INVITE\r\n" + called + "\r\n",
		"INVITE" + request + "CSeq: 8 INVITE\r\n" + called + "\r\n---\n@SIP/2.0 200 OK" + response + "CSeq: $n INVITE\r\nContact: " +
			"<sip:202@10.0.0.3>\r\nContent-Type: application/sdp\r\nSession-Expires: 90;refresher=uac\r\n\r\n" + twoStreams +
			"---\nACK" + request + "CSeq: 8 ACK\r\nContent-Type: application/sdp\r\n\r\n" + sdpOf(1),
		"UPDATE" + request + "CSeq: 9 UPDATE\r\n" + called + "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n\r\n",
		"INVITE" + request + "CSeq: x INVITE\r\n\r\n",
		"OPTIONS sip:x SIP/2.0\r\nv: SIP/2.0/UDP h\r\nf: <sip:a>;tag=1\r\nt: <sip:b>\r\ni: x\r\nCSeq: 1 OPTIONS\r\nRequire: a, b\r\n\r\n",
	} {
		for stage := range byte(stages) {
			f.Add(stage, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, stage byte, data []byte) {
		messages := bytes.Split(data, []byte("---\n"))
		if len(messages) > 4 || len(data) > 8000 {
			return
		}
		synctest.Test(t, func(t *testing.T) { fuzzReceive(t, stage%stages, messages) })
	})
}

// FuzzConversation is FuzzReceive with messages that fit their dialogs but for
// what is drawn otherwise: they come further. odd is put in as a value.
func FuzzConversation(f *testing.F) {
	for stage := range byte(stages) {
		for seed := range uint64(30) {
			f.Add(stage, seed, []byte("\"<;,"))
		}
	}
	f.Fuzz(func(t *testing.T, stage byte, seed uint64, odd []byte) {
		if len(odd) > 1000 || bytes.ContainsAny(odd, "\r\n") {
			return
		}
		r := rand.New(rand.NewPCG(seed, uint64(stage)))
		messages := make([][]byte, 1+r.IntN(6))
		for i := range messages {
			messages[i] = conversation(r, i, string(odd))
		}
		synctest.Test(t, func(t *testing.T) { fuzzReceive(t, stage%stages, messages) })
	})
}

// conversation draws the nth message of a conversation.
func conversation(r *rand.Rand, n int, odd string) []byte {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	rarely := func(odd, usual string) string {
		if r.IntN(12) == 0 {
			return odd
		}
		return usual
	}
	var b strings.Builder
	b.WriteString(one("", "", "@"))
	method := one("INVITE", "INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "REFER", "NOTIFY", "INFO", "PRACK", "OPTIONS", "SUBSCRIBE", "MESSAGE",
		"X")
	if r.IntN(2) == 0 {
		b.WriteString("SIP/2.0 " + one("100", "180", "183", "200", "200", "200", "202", "302", "401", "407", "408", "421", "422", "481", "486",
			"488", "491", "500", "503", "600") +
			" " + rarely(odd, "Text") + "\r\nVia: $v\r\nFrom: " + rarely(odd, "$o") + "\r\nTo: " + rarely("<sip:x>;tag="+odd, "$p") +
			"\r\nCSeq: $n " + rarely(method, "$m") + "\r\n")
	} else {
		number := fmt.Sprint(1 + n)
		b.WriteString(method + " " + rarely(odd, "sip:callcontroller@10.0.0.1:5060") + " SIP/2.0\r\nVia: SIP/2.0/UDP " + rarely(odd,
			"10.0.0.2:5060") + ";branch=z9hG4bK" + number +
			"\r\nFrom: $p\r\nTo: $o\r\nCSeq: " + rarely("4294967295", one(number, number, fmt.Sprint(n))) + " " + method + "\r\n")
	}
	b.WriteString("Call-ID: " + rarely(odd, "$c") + "\r\n")
	for _, h := range [...]struct{ name, usual string }{
		{"Contact", "<sip:201@10.0.0.2:5060>"}, {"Contact", "<sip:201@10.0.0.3>"}, {"Record-Route", "<sip:10.0.0.2;lr>, <sip:10.0.0.3>"},
		{"RSeq", number(r)},
		{"Require", "100rel"}, {"Require", "timer"}, {"Supported", "timer, 100rel"},
		{"Session-Expires", number(r) + ";refresher=" + one("uac", "uas")},
		{"Min-SE", number(r)}, {"Event", "refer;id=" + number(r)}, {"Subscription-State", one("active", "terminated;reason=noresource")},
		{"Reason", "SIP;cause=" + number(r)},
		{"Refer-To", "<sip:203@x?Replaces=$c%3Bto-tag%3D" + odd + ">"}, {"Referred-By", "<sip:a@b>"}, {"Allow", "INVITE, UPDATE"},
		{"RAck", "1 1 INVITE"},
		{"WWW-Authenticate", `Digest realm="sipx.test", nonce="n"`},
		{"Proxy-Authenticate", `Digest realm="sipx.test", nonce="n", qop="auth", algorithm=SHA-256`},
		{"Content-Type", "application/sdp"}, {"Content-Type", "application/sdp"}, {"Content-Type", "message/sipfrag"}, {"Retry-After", number(r)},
		{"X-Odd", odd},
	} {
		if r.IntN(3) == 0 {
			b.WriteString(h.name + ": " + rarely(odd, h.usual) + "\r\n")
		}
	}
	body := one("", twoStreams, sdpOf(1), "SIP/2.0 "+number(r)+" "+odd, odd)
	return []byte(b.String() + "\r\n" + body)
}

// number draws one that something is likely to be done with.
func number(r *rand.Rand) string {
	return []string{"0", "1", "2", "89", "90", "180", "200", "486", "4294967295", "-1"}[r.IntN(10)]
}

const stages = 5 // the phone rings, is referred, is joined with another, rings for us, speaks with us

func fuzzReceive(t *testing.T, stage byte, messages [][]byte) {
	n := siptest.NewNetwork()
	n.Delay = time.Microsecond
	calling, called := rawUDP(t, n, phoneAddr), rawUDP(t, n, calledAddr)
	// Refused at once: a bubble's clock stands still while it waits for a real server.
	nameless, err := resolve.New(resolve.Config{Servers: []string{"127.0.0.1:1"}, HostsFile: "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	defer nameless.Close()
	r := newRig(t, n, "", func(c *Config) { c.Resolver = nameless })
	s := spec(func(s *Spec) {
		s.CallingUser, s.CalledUser = "201@10.0.0.2", "202@10.0.0.3"
		s.Key.Agent = "200@10.0.0.2" // whose challenges are answered
		if stage >= 2 {
			s.Method = MethodInvite
		}
		if stage >= 3 {
			s.CalledUser, s.Converse = "201@10.0.0.2", new(audio).conversation()
		}
	})
	flow := []Flow{Refer, Refer, Invite, Converse, Converse}[stage]
	c, err := r.sw.Place(t.Context(), s, flow)
	if err != nil {
		t.Fatal(err)
	}
	last := map[*rawPhone]*wire.Message{}
	switch stage {
	case 0:
		last[calling] = calling.expect("INVITE")
	case 1:
		calling.answer()
		last[calling] = calling.expect("REFER")
	case 2:
		const described = "Supported: timer\r\nAllow: UPDATE\r\nContent-Type: application/sdp\r\n"
		calling.invite = calling.expect("INVITE")
		calling.send(calling.response(calling.invite, 200, calling.contact()+described, twoStreams))
		calling.expect("ACK")
		called.invite = called.expect("INVITE")
		called.send(called.response(called.invite, 200, strings.Replace(called.contact(), "201", "202", 1)+described, twoStreams))
		last[calling] = calling.expect("INVITE")
		calling.send(calling.response(last[calling], 200, calling.contact()+described, twoStreams))
		calling.expect("ACK")
		last[called] = called.expect("ACK")
	case 3:
		last[calling] = calling.expect("INVITE")
	case 4:
		calling.invite = calling.expect("INVITE")
		calling.send(calling.response(calling.invite, 200, calling.contact()+"Supported: timer\r\nAllow: UPDATE\r\nContent-Type: "+
			"application/sdp\r\n", sdpOf(1)))
		last[calling] = calling.expect("ACK")
	}
	if last[called] == nil {
		last[called] = last[calling]
	}
	before := n.Arrived()
	for _, m := range messages {
		from := calling
		if rest, ok := bytes.CutPrefix(m, []byte("@")); ok {
			m, from = rest, called
		}
		from.send(expand(string(m), last[from]))
		time.Sleep(30 * time.Millisecond)
		synctest.Wait()
		for _, p := range n.Packets()[before:] { // what it has made us ask
			for _, phone := range []*rawPhone{calling, called} {
				if m, err := wire.Parse(bytes.Clone(p.Data)); p.From.String() == ourAddr && p.To.String() == phone.port && err == nil && m.IsRequest() {
					last[phone] = m
				}
			}
		}
	}
	time.Sleep(100 * time.Second)
	c.stop(ErrHungUpByUser)
	time.Sleep(5 * time.Minute) // a phone may be asked for 3 of them
	synctest.Wait()
	if sent := n.Arrived() - before; sent > 100*len(messages)+200 {
		t.Errorf("%d messages made %d", len(messages), sent)
	}
	for _, p := range n.Packets() {
		if p.From.String() == ourAddr {
			readable(t, p.Data)
		}
	}
	r.empty()
	r.stop()
}

// expand puts what the dialog of last is into a message.
func expand(m string, last *wire.Message) string {
	to := string(last.Get(wire.To))
	if last.ToTag() == nil {
		to += ";tag=" + phoneTag
	}
	number, _, _ := strings.Cut(string(last.Get(wire.CSeq)), " ")
	return strings.NewReplacer("$c", string(last.Get(wire.CallID)), "$p", to, "$o", string(last.Get(wire.From)),
		"$v", string(last.Get(wire.Via)), "$n", number, "$m", last.Method()).Replace(m)
}

// readable checks that another implementation reads of a message of ours what
// we wrote: no line of it has come from a value.
func readable(t *testing.T, data []byte) {
	t.Helper()
	m, err := wire.Parse(bytes.Clone(data))
	if err != nil && (m == nil || m.IsRequest() || m.Code() != 400 && m.Code() != 505 && m.Code() != 513) { // which repeat what they are about
		t.Fatalf("what is sent cannot be read: %v\n%q", err, data)
	}
	if m.Get(wire.MaxForwards) == nil && m.IsRequest() {
		t.Errorf("a request without Max-Forwards:\n%q", data)
	}
	head, _, _ := bytes.Cut(data, []byte("\r\n\r\n"))
	if bytes.Count(head, []byte("\n")) != bytes.Count(head, []byte("\r\n")) || bytes.IndexByte(bytes.ReplaceAll(head, []byte("\r\n"), nil),
		'\r') >= 0 {
		t.Errorf("a line is ended by other than CRLF:\n%q", data)
	}
	for _, h := range []string{"Call-ID", "From", "To", "CSeq", "Content-Length", "Max-Forwards"} {
		if n := strings.Count(strings.ToLower("\n"+string(head)), "\n"+strings.ToLower(h)+":"); n > 1 && err == nil {
			t.Errorf("%d of %s:\n%q", n, h, data)
		}
	}
	if err != nil {
		return
	}
	other, err := sip.NewParser().ParseSIP(bytes.Clone(data))
	if err != nil {
		return // it refuses values that are the phones' own
	}
	if h := other.CallID(); h == nil || strings.TrimSpace(h.Value()) != string(bytes.TrimSpace(m.Get(wire.CallID))) {
		t.Errorf("Call-ID %v, want %s:\n%q", h, m.Get(wire.CallID), data)
	}
	if got := other.Body(); !bytes.Equal(got, m.Body()) {
		t.Errorf("body %q, want %q", got, m.Body())
	}
}
