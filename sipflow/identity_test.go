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
		"Remote-Party-ID: <sip:boss@sipx.test>\r\nIdentity: \"x\"\r\nX-Keep: yes\r\nUser-Agent: phone\r\nContent-Length: 0\r\n\r\n"))
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
