package sipflow

import (
	"strings"
	"testing"

	"sipxrest/sipflow/wire"
)

// Proxies believe us who is calling: what a phone claims of that stays with us,
// all else passes.
func TestClaimedIdentitiesAreNotPassedOn(t *testing.T) {
	m, err := wire.Parse([]byte("INFO sip:callcontroller@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK1\r\n" +
		"From: <sip:201@sipx.test>;tag=a\r\nTo: <sip:200@sipx.test>;tag=b\r\nCall-ID: 1\r\nCSeq: 1 INFO\r\n" +
		"P-Asserted-Identity: <sip:boss@sipx.test>\r\np-preferred-identity: <sip:boss@sipx.test>\r\n" +
		"Remote-Party-ID: <sip:boss@sipx.test>\r\nIdentity: \"x\"\r\ny: eyJhbGciOi;info=<https://boss>\r\nN: <https://boss>\r\n" +
		"Diversion: <sip:boss@sipx.test>;reason=unconditional\r\nHistory-Info: <sip:boss@sipx.test>;index=1\r\nP-Charging-Vector: " +
		"icid-value=boss\r\n" +
		"P-Served-User: <sip:boss@sipx.test>\r\nX-Keep: yes\r\nUser-Agent: phone\r\nContent-Length: 0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	header := relayedHeader(m)
	if strings.Contains(header, "boss") || strings.Contains(strings.ToLower(header), "identity:") {
		t.Errorf("a claimed identity is passed on:\n%s", header)
	}
	if header != "X-Keep: yes\r\nUser-Agent: phone\r\n" {
		t.Errorf("passed on: %q", header)
	}
}

// A diversion is told where a trunk or a trusted server says so, and its caller
// does not ask for privacy.
func TestInboundDiversionIsToldWhereSomebodyVouchesForIt(t *testing.T) {
	for _, c := range []struct {
		name, privacy string
		trunk, user   bool
		told          bool
	}{
		{"a trusted server", "", false, false, true},
		{"a trunk", "Privacy: none\r\n", true, false, true},
		{"a trunk that proves to be one", "", true, true, true},
		{"a trunk, of a caller who wants to be private", "Privacy: id;critical\r\n", true, false, false},
		{"a trunk, whose history is private", "Privacy: none, history\r\n", true, false, false},
		{"a user", "", false, true, false},
	} {
		inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
			p.rawPhone.send(rawInvite("Max-Forwards", c.privacy+"Diversion: <sip:boss@sipx.test>\r\nHistory-Info: "+
				"<sip:boss@sipx.test>;index=1\r\ny: x;info=<https://boss>\r\nMax-Forwards"))
			p.next(180)
			told := 0
			for _, name := range []string{"Diversion", "History-Info", "y"} {
				if p.target.Requests("INVITE")[0].GetHeader(name) != nil {
					told++
				}
			}
			if want := map[bool]int{true: 2}[c.told]; told != want {
				t.Errorf("%s: %d fields reach the target, want %d", c.name, told, want)
			}
			p.rawPhone.send(rawOf("CANCEL", 1, "b1", ""))
			p.next(200)
			p.rawPhone.send(refusalACK(p.next(487)))
		}, func(cfg *Config) {
			cfg.Inbound.Admit = func(in *Incoming) Admission {
				if c.user {
					in.Username = "201"
				}
				return Trusted
			}
			cfg.Inbound.Trunk = func(*Incoming) (string, int) { return map[bool]string{true: "t"}[c.trunk], 0 }
		})
	}
}
