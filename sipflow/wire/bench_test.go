package wire

import (
	"net/netip"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// okWithSDP is a phone's response through one proxy.
const okWithSDP = "SIP/2.0 200 OK\r\n" +
	"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK0123456789abcdef;rport=5060;received=10.0.0.1\r\n" +
	"Record-Route: <sip:10.0.0.9;lr;ftag=0123456789abcdef>\r\n" +
	"Contact: <sip:201@10.0.0.2:5060;transport=udp;ob>\r\n" +
	"To: <sip:201@sipx.test>;tag=8f2c1d7a\r\n" +
	"From: \"Alice\" <sip:200@sipx.test>;tag=0123456789abcdef\r\n" +
	"Call-ID: 0123456789abcdef0123456789abcdef@10.0.0.1\r\n" +
	"CSeq: 2 INVITE\r\n" +
	"Allow: SUBSCRIBE, NOTIFY, INVITE, ACK, CANCEL, BYE, REFER, INFO, OPTIONS, MESSAGE\r\n" +
	"Content-Type: application/sdp\r\n" +
	"Supported: replaces, norefersub\r\n" +
	"User-Agent: Phone 1.0\r\n" +
	"Content-Length: 148\r\n\r\n" +
	"v=0\r\no=- 3853 3853 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 101\r\n" +
	"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event\r\n"

func BenchmarkParse(b *testing.B) {
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(okWithSDP)))
		for b.Loop() {
			if _, err := Parse([]byte(okWithSDP)); err != nil { // the copy is what a datagram costs
				b.Fatal(err)
			}
		}
	})
	b.Run("sipgo", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(okWithSDP)))
		p := sip.NewParser()
		for b.Loop() {
			if _, err := p.ParseSIP([]byte(okWithSDP)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendReply(b *testing.B) {
	m, err := Parse([]byte(optionsWith("")))
	if err != nil {
		b.Fatal(err)
	}
	from := netip.MustParseAddrPort("10.0.0.2:5060")
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		AppendReply(buf, m, from, Reply{Code: 200, ToTag: "0123456789abcdef"})
	}
}
