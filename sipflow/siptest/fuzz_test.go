package siptest_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// The demo's phones and proxy listen on a real socket: whatever comes, they
// stay up, and a ladder can be drawn of it.
func FuzzReceive(f *testing.F) {
	const head = "From: <sip:a@x>;tag=1\r\nTo: <sip:202@sipx.test>\r\nCall-ID: c\r\nMax-Forwards: 70\r\n"
	for _, s := range []string{
		"INVITE sip:202@sipx.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.8:5060;branch=z9hG4bKa;rport\r\n" + head +
			"CSeq: 1 INVITE\r\nContact: <sip:a@10.0.0.8>\r\nRecord-Route: <sip:10.0.0.8;lr>\r\n\r\n",
		"REGISTER sip:sipx.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.8:5060;branch=z9hG4bKb\r\n" + head +
			"CSeq: 1 REGISTER\r\nContact: *\r\nExpires: 0\r\nAuthorization: Digest username=\"201\", realm=\"sipx.test\", nonce=\"x\"\r\n\r\n",
		"CANCEL sip:202@sipx.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.8:5060;branch=z9hG4bKa\r\n" + head + "CSeq: 1 CANCEL\r\n\r\n",
		"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-p1\r\nVia: SIP/2.0/UDP 10.0.0.8\r\n" + head + "CSeq: 1 INVITE\r\n\r\n",
		"REFER sip:202@10.0.0.3 SIP/2.0\r\nRoute: <sip:10.0.0.9:5060;lr>\r\nVia: SIP/2.0/UDP h\r\n" + head +
			"CSeq: 9 REFER\r\nRefer-To: <\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			proxy := n.Proxy("10.0.0.9:5060", siptest.ProxyConfig{Domain: "sipx.test", Users: users, Open: len(data)%2 == 0,
				Locations: map[string]string{"202": "sip:202@10.0.0.3:5060"}})
			defer proxy.Close()
			phone := n.Phone("202", "10.0.0.3:5060", siptest.Script{Ring: time.Second, HangUpAfter: time.Second,
				Challenge: siptest.Challenge{Methods: nil, Realm: "sipx.test"}, Refer: siptest.Refer{Follow: true}})
			defer phone.Close()
			c := n.Listen("10.0.0.8:5060")
			defer c.Close()
			if len(data) > 60000 {
				return
			}
			for _, to := range []string{"10.0.0.9:5060", "10.0.0.3:5060"} {
				c.WriteToUDPAddrPort(data, netip.MustParseAddrPort(to))
				time.Sleep(5 * time.Second)
			}
			if n.Arrived() > 200 {
				t.Errorf("one message made %d", n.Arrived())
			}
			_ = n.Ladder()
		})
	})
}
