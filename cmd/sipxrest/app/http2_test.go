package app

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"sipxrest/cmd/sipxrest/apptest"
)

func (s *service) http2() *apptest.HTTP2Client {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Addrs()[0], "https://"))
	if err != nil {
		s.t.Fatal(err)
	}
	return apptest.NewHTTP2Client(s.t, conn)
}

// What net/http refuses before any handler is answered over HTTP/2, too, whether
// the request has come to its end or goes on. The connection serves others.
func TestMalformedRequestsAreAnsweredOverHTTP2(t *testing.T) {
	s := startPlain(t)
	c := s.http2()
	for _, path := range []string{apptest.CallPath + "%u20AC", "/%", "/%zz", "/callcontroller/201/100%", "*x"} {
		ended := c.Begin("POST", path, false)
		if a := *c.Await(ended); a.Status != 400 || !strings.Contains(a.Body, "% must be followed by two hexadecimal digits") || a.Reset != "" {
			t.Errorf("%q: %+v", path, a)
		}
		open := c.Begin("POST", path, true, "content-length", "3")
		if a := *c.Await(open); a.Status != 400 || a.Reset != "" {
			t.Errorf("%q with a body: %+v", path, a)
		}
		c.End(open, "x=y")
		c.Settle()
		if a := c.Answer(open); a.Reset != "" {
			t.Errorf("%q with a body: reset with %s behind the answer", path, a.Reset)
		}
	}
	if a := *c.Await(c.Begin("GET", "/callcontroller/201/M%FCller", false)); a.Status != 400 ||
		!strings.Contains(a.Body, "calledUser = M\uFFFDller: it is not UTF-8") {
		t.Errorf("what is well-formed, but no UTF-8: %+v", a)
	}
	if a := *c.Await(c.Begin("GET", "/", false)); a.Status != 200 {
		t.Errorf("then GET /: %+v", a)
	}
	// The answer to what does not end is not waited for without end.
	endless := c.Begin("POST", "/%", true)
	c.Await(endless)
	for i := 0; c.Answer(endless).Reset == ""; i++ {
		if i > 100 {
			t.Fatal("of a request that was refused more than a megabyte is taken")
		}
		c.Must(c.Framer.WriteData(endless, false, make([]byte, 10_000)))
		c.Settle()
	}
	if a := *c.Await(c.Begin("GET", "/", false)); a.Status != 200 {
		t.Errorf("then GET /: %+v", a)
	}
}

// A client that keeps no table of header fields is not given an answer that would
// have to say so first: that would end the connection, not the stream.
func TestMalformedRequestsOfAClientWithASmallHeaderTable(t *testing.T) {
	s := startPlain(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Addrs()[0], "https://"))
	if err != nil {
		t.Fatal(err)
	}
	c := apptest.NewHTTP2Client(t, conn, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	if a := *c.Await(c.Begin("GET", "/%", false)); a.Reset != "PROTOCOL_ERROR" || a.Status != 0 {
		t.Errorf("%+v", a)
	}
	if a := *c.Await(c.Begin("GET", "/", false)); a.Status != 200 {
		t.Errorf("then GET /: %+v", a)
	}
}
