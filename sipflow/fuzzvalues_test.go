package sipflow

import (
	"strings"
	"testing"

	"sipxrest/sipflow/wire"
)

// FuzzRelayedFields: what of a phone's message is passed on to the other phone
// are whole header lines, and none that belong to the dialog.
func FuzzRelayedFields(f *testing.F) {
	for _, s := range []string{
		"Refer-To: <sip:203@x?Replaces=c%3Bto-tag%3Dx>\r\nEvent: refer;id=7", "Supported: timer, x\r\nRequire: 100rel, y\r\nSession-Expires: " +
			"90;refresher=uac\r\nMin-SE: 90",
		"Subject: x\r\n y\r\nP-Asserted-Identity: <sip:a@b>\r\nv: SIP/2.0/UDP x\r\nl: 0", "X :\t\r\nX:y\r\nRoute: <sip:a>\r\nm: <sip:b>",
		"Reason: SIP;cause=1\r\nReason: x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, fields []byte) {
		const head = "Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REFER\r\n" +
			"Max-Forwards: 70\r\n"
		m, err := wire.Parse([]byte("REFER sip:x SIP/2.0\r\n" + head + string(fields) + "\r\n\r\n"))
		if err != nil || len(m.Body()) > 0 {
			return
		}
		l := describer()
		l.call.sw.shard(l.id).closed = true // no timers
		b := &bridge{call: l.call, referrals: []referral{{to: l, near: 7, far: 9}}}
		referTo, _ := b.referredHeader(m)
		out := relayedHeader(m) + referTo + b.eventHeader(l, m) + l.sessionAnswer(m, nil) + l.sessionHeader()
		if len(out) > 2*len(fields)+maxRelayedHeader+200 {
			t.Fatalf("%d bytes of fields became %d", len(fields), len(out))
		}
		again, err := wire.Parse([]byte("REFER sip:x SIP/2.0\r\n" + head + out + "\r\n"))
		if err != nil {
			t.Fatalf("%q is passed on as %q: %v", fields, out, err)
		}
		passed := 0
		again.Fields(func(id wire.Header, name, value []byte) bool {
			if passed++; passed <= strings.Count(head, "\r\n") {
				return true
			}
			switch id {
			case wire.Via, wire.From, wire.To, wire.CallID, wire.CSeq, wire.Contact, wire.MaxForwards, wire.Route, wire.RecordRoute,
				wire.ContentLength, wire.Authorization, wire.ProxyAuthorization:
				t.Errorf("%s: %s is passed on of %q", name, value, fields)
			}
			if isIdentity(name) {
				t.Errorf("%s is passed on of %q", name, fields)
			}
			return true
		})
		if interval, _ := sessionExpires(m); interval < 0 {
			t.Errorf("%q is the interval %v", fields, interval)
		}
		if seconds, ok := minSE(m); ok {
			if h := withSession(out, seconds); strings.Count("\n"+h, "\nSession-Expires:") != 1 || strings.Count(h, "\r\n") > strings.Count(out,
				"\r\n")+2 {
				t.Errorf("%q with Min-SE %d is %q", out, seconds, h)
			}
		}
	})
}
