package lab

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// caller is the other side of a phone, message by message.
type caller struct {
	t    *testing.T
	conn *net.UDPConn
	tag  string
}

func (c *caller) send(method, branch string, seq int, contact, body string) {
	c.t.Helper()
	to := "<sip:a1@sipx.test>"
	if c.tag != "" {
		to += ";tag=" + c.tag
	}
	kind := ""
	if body != "" {
		kind = "Content-Type: application/sdp\r\n"
	}
	text := fmt.Sprintf("%s sip:a1@sipx.test SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s\r\nMax-Forwards: 70\r\n"+
		"From: <sip:200@sipx.test>;tag=1\r\nTo: %s\r\nCall-ID: one\r\nCSeq: %d %s\r\nContact: <sip:%s>\r\n%sContent-Length: %d\r\n\r\n%s",
		method, c.conn.LocalAddr(), branch, to, seq, method, contact, kind, len(body), body)
	if _, err := c.conn.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// want reads until a message begins with one of these words. It returns the message.
func (c *caller) want(begins string) string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(Patience))
	buf := make([]byte, 65536)
	for {
		n, err := c.conn.Read(buf)
		if err != nil {
			c.t.Fatalf("no %q: %v", begins, err)
		}
		if text := string(buf[:n]); strings.HasPrefix(text, begins) {
			return text
		}
	}
}

func offer(version int, rest string) string {
	return fmt.Sprintf("v=0\r\no=- 5 %d IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n%s", version, rest)
}

func TestFarmPhonesSeeWhatASecondNodeDoesWrong(t *testing.T) {
	f := (&Lab{tb: t}).Farm(FarmConfig{})
	conn, err := net.Dial("udp", f.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &caller{t: t, conn: conn.(*net.UDPConn)}
	c.send("INVITE", "1", 1, "127.0.0.2:5060", offer(1, ""))
	ringing := c.want("SIP/2.0 180")
	_, c.tag, _ = strings.Cut(ringing[strings.Index(ringing, "To:"):], "tag=")
	c.tag, _, _ = strings.Cut(c.tag, "\r")
	if ok := c.want("SIP/2.0 200"); !strings.Contains(ok, "UPDATE") || !strings.Contains(ok, "m=audio 40000") {
		t.Errorf("the 200 is\n%s", ok)
	}
	c.want("SIP/2.0 200") // again, for there is no ACK
	c.send("ACK", "2", 1, "127.0.0.2:5060", "")
	c.send("UPDATE", "3", 1001, "127.0.0.3:5060", "")
	c.want("SIP/2.0 200 OK\r\n")
	if v := f.View("a1"); v.Contact != "127.0.0.3:5060" || v.State != "up" || !v.Settled {
		t.Errorf("after an UPDATE from elsewhere: %+v", v)
	}
	c.send("BYE", "4", 2, "127.0.0.2:5060", "")
	c.want("SIP/2.0 500")
	if v := f.View("a1"); v.State != "up" || v.Refused != 1 {
		t.Errorf("after a BYE of the one before: %+v", v)
	}
	if faults := f.Faults(); len(faults) > 0 {
		t.Errorf("faults: %q", faults)
	}
	for i, body := range []string{offer(1, ""), offer(1, "a=sendonly\r\n"), offer(2, "a=sendonly\r\n"), offer(4, "")} {
		branch := fmt.Sprint("x", i)
		c.send("INVITE", branch, 1002+i, "127.0.0.3:5060", body)
		c.want("SIP/2.0 200")
		c.send("ACK", branch, 1002+i, "127.0.0.3:5060", "")
		if n := len(f.Faults()); n != i%2 { // the second has another text, the fourth leaves a version out
			t.Errorf("description %d: %d faults", i, n)
		}
	}
	c.send("UPDATE", "7", 1010, conn.LocalAddr().String(), "")
	c.want("SIP/2.0 200")
	press := make(chan int, 1)
	go func() { press <- f.Press("a1", "5") }()
	_, header, _ := strings.Cut(c.want("INFO "), "\r\n")
	header, _, _ = strings.Cut(header, "Contact:")
	if _, err := conn.Write([]byte("SIP/2.0 200 OK\r\n" + header + "Content-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if code := <-press; code != 200 {
		t.Errorf("INFO: %d", code)
	}
	c.send("BYE", "5", 2000, "127.0.0.3:5060", "")
	c.want("SIP/2.0 200")
	c.send("BYE", "5", 2000, "127.0.0.3:5060", "") // again
	c.want("SIP/2.0 200")
	c.send("BYE", "6", 2001, "127.0.0.3:5060", "")
	c.want("SIP/2.0 481")
	if v := f.View("a1"); v.State != "over" || v.End != "BYE" {
		t.Errorf("after the BYE: %+v", v)
	}
}
