package capture

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

func message(callID string, out bool, at int) (Message, []byte) {
	m := Message{At: time.Unix(int64(at), 0).UTC(), Out: out, Transport: "udp", Local: "192.0.2.1:5060",
		Remote: netip.MustParseAddrPort("192.0.2.9:5062")}
	return m, fmt.Appendf(nil, "INVITE sip:201@example.com SIP/2.0\r\nCall-ID: %s\r\nCSeq: %d INVITE\r\n\r\nbody", callID, at)
}

func TestSecretsAreCutOut(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"Authorization: Digest username=\"201\", realm=\"x\", nonce=\"n\", response=\"abc\", cnonce=\"c\"\r\n\r\n",
			"Authorization: Digest username=\"201\", realm=\"x\", nonce=\"n\", response=\"***\", cnonce=\"***\"\r\n\r\n"},
		{"proxy-authorization : Digest username=\"201\",\r\n response=abc , uri=\"sip:x\"\r\nTo: x\r\n\r\n",
			"proxy-authorization : Digest username=\"201\",\r\n response=\"***\" , uri=\"sip:x\"\r\nTo: x\r\n\r\n"},
		{"Authorization: Bearer abc\r\n def\r\nTo: x\r\n\r\n", "Authorization: ***\r\nTo: x\r\n\r\n"},
		{"Refer-To: <sip:room@x?X-ConfPin=1234>\r\nX-ConfPin: 99\r\n\r\n", "Refer-To: <sip:room@x?X-ConfPin=***>\r\nX-ConfPin: ***\r\n\r\n"},
		{"Content-Type: application/dtmf-relay\r\n\r\nSignal=5\r\nDuration=160\r\n",
			"Content-Type: application/dtmf-relay\r\n\r\nSignal=***\r\nDuration=160\r\n"},
		{"Content-Type: application/dtmf-relay\r\n\r\n \u00a0signal = 5\r\n",
			"Content-Type: application/dtmf-relay\r\n\r\n \u00a0signal =***\r\n"},
		{"c: application/dtmf\r\n\r\n5", "c: application/dtmf\r\n\r\n***"},
		{"Content-Type:\r\n\tApplication/DTMF ;x=y\r\n\r\n5", "Content-Type:\r\n\tApplication/DTMF ;x=y\r\n\r\n***"},
		{"c:\r\n application/dtmf\r\n ;x=y\r\n\r\n5", "c:\r\n application/dtmf\r\n ;x=y\r\n\r\n***"},
		{"Content-Type: application/sdp\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20\r\n",
			"Content-Type: application/sdp\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***|2^20\r\n"},
		{"Content-Type: application/sdp\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 INLINE:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n",
			"Content-Type: application/sdp\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 INLINE:***\r\n"},
		{"To: <sip:signal@x>\r\n\r\nresponse=kept", "To: <sip:signal@x>\r\n\r\nresponse=kept"},
	} {
		if got := string(cutSecrets([]byte(c.in))); got != c.want {
			t.Errorf("%q\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func TestMessagesOfACall(t *testing.T) {
	for _, mode := range []Mode{Failed, All} {
		r := New(mode, 1<<20)
		r.Add(message("b", true, 2))
		r.Add(message("a", false, 1)) // before it is known whose it is
		r.Add(message("stranger", false, 1))
		r.Claim("call", "a")
		r.Claim("call", "b")
		r.Add(message("a", true, 3))
		r.Claim("other", "a") // a phone went over to another call
		list, dropped := r.Of("call")
		var got []string
		for _, m := range list {
			got = append(got, Field(m.Text, "CSeq"))
		}
		if strings.Join(got, ", ") != "1 INVITE, 2 INVITE, 3 INVITE" || dropped != 0 {
			t.Errorf("%s: %v, %d dropped", mode, got, dropped)
		}
		r.Ended("call", false)
		if list, _ := r.Of("call"); (len(list) > 0) != (mode == All) {
			t.Errorf("%s: %d messages of a call that went well", mode, len(list))
		}
		r.Claim("failed", "stranger")
		r.Ended("failed", true)
		if list, _ := r.Of("failed"); len(list) != 1 {
			t.Errorf("%s: %d messages of a call that failed", mode, len(list))
		}
	}
}

// Whatever comes, the bytes are bounded, and strangers displace nothing of calls.
func TestTheRingIsBounded(t *testing.T) {
	const limit = 1 << 20
	r := New(All, limit)
	r.Add(message("a", true, 1))
	r.Claim("call", "a")
	for i := range 20_000 {
		m, data := message(fmt.Sprint("flood", i), false, i)
		r.Add(m, append(data, make([]byte, 3000)...))
	}
	if list, _ := r.Of("call"); len(list) != 1 {
		t.Error("strangers have displaced a call")
	}
	for i := range 1000 {
		r.Add(message("a", true, i))
	}
	if list, dropped := r.Of("call"); len(list) != maxMessages || dropped != 1001-maxMessages {
		t.Errorf("%d messages of one dialog, %d dropped", len(list), dropped)
	}
	for i := range 20_000 {
		id := fmt.Sprint("d", i)
		r.Add(message(id, true, i))
		r.Claim(fmt.Sprint("c", i), id)
		if i%2 == 0 {
			r.Ended(fmt.Sprint("c", i), false)
		}
	}
	if _, n := r.Kept(); n > limit {
		t.Errorf("%d bytes are kept", n)
	}
	if len(r.dialogs) > limit/overhead || len(r.calls) > limit/overhead || len(r.known.list) > 2*len(r.dialogs)+64 {
		t.Errorf("%d dialogs, %d calls, %d in the queue", len(r.dialogs), len(r.calls), len(r.known.list))
	}
}

// In mode failed nothing is left of calls that went well.
func TestCallsThatWentWellLeaveNothing(t *testing.T) {
	r := New(Failed, 1<<30)
	for i := range 10_000 {
		id := fmt.Sprint(i)
		r.Claim(id, id)
		r.Add(message(id, true, i))
		r.Ended(id, false)
	}
	if calls, n := r.Kept(); calls != 0 || n != 0 || len(r.dialogs) != 0 || len(r.known.list) > 200 {
		t.Errorf("%d calls, %d bytes, %d dialogs, %d in the queue", calls, n, len(r.dialogs), len(r.known.list))
	}
}

func TestPcap(t *testing.T) {
	in, data := message("a", false, 1)
	out := Message{At: time.Unix(2, 0).UTC(), Out: true, Transport: "tls", Local: "pbx.example:5061",
		Remote: netip.MustParseAddrPort("[2001:db8::1]:5061")}
	in.Text, out.Text = data, bytes.Repeat([]byte("x"), maxText)
	var b bytes.Buffer
	if err := WritePcap(&b, []Message{in, out}); err != nil {
		t.Fatal(err)
	}
	file, err := pcapgo.NewReader(&b)
	if err != nil || file.LinkType() != layers.LinkTypeRaw {
		t.Fatal(err, file.LinkType())
	}
	want := []struct{ flow, text string }{
		{"192.0.2.9->192.0.2.1 5062->5060", string(data)},
		{"::->2001:db8::1 5061->5061", string(out.Text)},
	}
	for _, w := range want {
		packet, info, err := file.ReadPacketData()
		if err != nil || info.Length != len(packet) {
			t.Fatal(err, info)
		}
		first := gopacket.Decoder(layers.LayerTypeIPv4)
		if packet[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
		p := gopacket.NewPacket(packet, first, gopacket.DecodeOptions{})
		udp, ok := p.TransportLayer().(*layers.UDP)
		if !ok {
			t.Fatal(p)
		}
		flow := fmt.Sprintf("%v %d->%d", p.NetworkLayer().NetworkFlow(), udp.SrcPort, udp.DstPort)
		if flow != w.flow || string(udp.Payload) != w.text {
			t.Errorf("%s %.60q", flow, udp.Payload)
		}
	}
}

func TestText(t *testing.T) {
	m, data := message("a", true, 1)
	m.Text, m.Cut = data, true
	var b bytes.Buffer
	if err := WriteText(&b, []Message{m}); err != nil {
		t.Fatal(err)
	}
	want := "--- 1970-01-01T00:00:01.000000Z udp 192.0.2.1:5060 -> 192.0.2.9:5062\n" +
		"INVITE sip:201@example.com SIP/2.0\nCall-ID: a\nCSeq: 1 INVITE\n\nbody\n[more was not kept]\n\n"
	if b.String() != want {
		t.Errorf("%q", b.String())
	}
}

// Any bytes may come.
func FuzzAdd(f *testing.F) {
	f.Add([]byte("INVITE x SIP/2.0\r\ni: a\r\nAuthorization: Digest response=\"x\"\r\n\r\nSignal=1\r\ninline:abc"))
	f.Add([]byte("\r\n\r\n"))
	f.Add([]byte("Call-ID:a\nProxy-Authorization: \r\n x\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := New(All, 1<<20)
		r.Add(Message{Remote: netip.MustParseAddrPort("192.0.2.9:5062"), Local: "x"}, data)
		r.Claim("c", "a")
		list, _ := r.Of("c")
		var b bytes.Buffer
		if err := WritePcap(&b, list); err != nil {
			t.Error(err)
		}
		if err := WriteText(&b, list); err != nil {
			t.Error(err)
		}
	})
}
