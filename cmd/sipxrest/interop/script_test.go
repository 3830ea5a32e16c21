//go:build interop

package interop

import (
	"crypto/md5"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// script plays the service by hand, with nothing of ours: it proves that the
// lab does what the tests of the service rely on. It is no SIP stack.
type script struct {
	t     *testing.T
	conn  net.PacketConn
	proxy net.Addr
	self  string
	to    string // To of the dialog, with the tag of the phone
	uri   string // Request-URI: the phone's address, once known
	route string
}

func newScript(t *testing.T, proxy string) *script {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	addr, err := net.ResolveUDPAddr("udp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	return &script{t: t, conn: conn, proxy: addr, self: conn.LocalAddr().String(),
		to: "<sip:201@" + lab.Domain + ">", uri: "sip:201@" + lab.Domain + ";sipx-noroute=Voicemail;sipx-userforward=false;sipxbridge-moh=false",
		route: "<sip:" + proxy + ";lr>"}
}

func (s *script) send(method string, cseq int, body string, headers ...string) {
	s.t.Helper()
	branch := fmt.Sprint(cseq)
	if method == "ACK" && cseq > 1 { // the 407's ACK has the INVITE's own, or else Kamailio relays it
		branch += "ack"
	}
	msg := []string{
		method + " " + s.uri + " SIP/2.0",
		"Via: SIP/2.0/UDP " + s.self + ";branch=z9hG4bKscript" + branch,
		`From: "Bob Caller" <sip:201@` + lab.Domain + ">;tag=script",
		"To: " + s.to,
		"Call-ID: script@" + s.self,
		fmt.Sprintf("CSeq: %d %s", cseq, method),
		"Max-Forwards: 70",
		"Route: " + s.route,
		"Contact: <sip:callcontroller@" + s.self + ";transport=udp>",
	}
	msg = append(msg, headers...)
	s.write(strings.Join(append(msg, fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)), "\r\n"))
}

func (s *script) write(msg string) {
	s.t.Helper()
	if _, err := s.conn.WriteTo([]byte(msg), s.proxy); err != nil {
		s.t.Fatal(err)
	}
}

// await reads messages until one starts with first, and answers the NOTIFYs
// and the rest with 200 on the way.
func (s *script) await(first string) string {
	s.t.Helper()
	s.conn.SetReadDeadline(time.Now().Add(lab.Patience))
	for buf := make([]byte, 65535); ; {
		n, _, err := s.conn.ReadFrom(buf)
		if err != nil {
			s.t.Fatalf("no %s: %v", first, err)
		}
		msg := string(buf[:n])
		if !strings.HasPrefix(msg, "SIP/2.0 ") {
			s.answer(msg)
		}
		if strings.HasPrefix(msg, first) {
			return msg
		}
	}
}

var copied = regexp.MustCompile(`(?m)^(Via|From|To|Call-ID|CSeq|Record-Route): .*\r\n`)

func (s *script) answer(request string) {
	s.t.Helper()
	s.write("SIP/2.0 200 OK\r\n" + strings.Join(copied.FindAllString(request, -1), "") + "Content-Length: 0\r\n\r\n")
}

func field(t *testing.T, msg, re string) string {
	t.Helper()
	m := regexp.MustCompile(re).FindStringSubmatch(msg)
	if m == nil {
		t.Fatalf("no %s in\n%s", re, msg)
	}
	return m[1]
}

// The SDP that the service offers: nobody is at that port.
const placeholder = "v=0\r\no=- 8133592438484594038 1 IN IP4 127.0.0.1\r\ns=SipXconfig\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" +
	"m=audio 2222 RTP/AVP 0 101\r\na=sendrecv\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"

func TestScriptedReferConnectsThePhones(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{AnswerDelay: time.Second})
	s := newScript(t, l.Proxy.Addr)

	s.send("INVITE", 1, placeholder, "Content-Type: application/sdp")
	challenge := s.await("SIP/2.0 407 ")
	toURI := s.to
	s.to = field(t, challenge, `(?m)^To: (.*)\r$`)
	s.send("ACK", 1, "")
	s.to = toURI
	hash := func(parts ...string) string { return fmt.Sprintf("%x", md5.Sum([]byte(strings.Join(parts, ":")))) }
	nonce := field(t, challenge, `nonce="([^"]+)"`)
	response := hash(hash("201", lab.Domain, lab.Password), nonce, "00000001", "c", "auth", hash("INVITE", s.uri))
	s.send("INVITE", 2, placeholder, "Content-Type: application/sdp", fmt.Sprintf(
		`Proxy-Authorization: Digest username="201",realm=%q,nonce=%q,uri=%q,response=%q,algorithm=MD5,qop=auth,cnonce="c",nc=00000001`,
		lab.Domain, nonce, s.uri, response))
	ok := s.await("SIP/2.0 200 ")
	s.to = field(t, ok, `(?m)^To: (.*)\r$`)
	s.uri = field(t, ok, `(?m)^Contact: <(.*)>`)
	s.route = field(t, ok, `(?m)^Record-Route: (.*)\r$`)
	s.send("ACK", 2, "")
	s.send("REFER", 3, "", "Refer-To: <sip:202@"+lab.Domain+">", "Referred-By: <sip:201@"+lab.Domain+">")
	s.await("SIP/2.0 202 ")
	for notify := ""; !strings.Contains(notify, "terminated"); {
		notify = s.await("NOTIFY ")
		t.Log(field(t, notify, `(?s)\r\n\r\n(.*)`))
	}
	call := calling.AwaitInCallWith("202")
	called.AwaitInCallWith("201")
	s.send("BYE", 4, "")
	s.await("SIP/2.0 200 ")
	calling.AwaitAudio()
	called.AwaitAudio()
	calling.AwaitHears(called)
	called.AwaitHears(calling)
	called.HangUp()
	calling.AwaitClosed(call.ID)
	calling.AwaitOnHook()
	called.AwaitOnHook()
}
