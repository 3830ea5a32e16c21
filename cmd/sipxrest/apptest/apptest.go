// Package apptest is what the tests of the service's packages share: phones, a name
// server, a webhook, a log to wait for, and an HTTP/2 client that counts frames.
package apptest

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sipxrest/sipflow/siptest"
)

// Write puts a file into the test's folder and returns its name.
func Write(t testing.TB, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Minimal is what every configuration needs; tests append to it.
const Minimal = "domain: sipx.test\nusers: [users.yaml]\n"

// UsersYAML is a file with one user.
const UsersYAML = `- {user: "201", aliases: [bob], pin: "123", sip-password: "123"}` + "\n"

// CallPath is a call between two users.
const CallPath = "/callcontroller/201/202"

// Phone answers every request at a UDP address, as the script says.
func Phone(t *testing.T, script siptest.Script) (*siptest.Phone, string) {
	t.Helper()
	return PhoneOf(t, siptest.Account{User: "201"}, script)
}

// PhoneOf is phone for a user with a password.
func PhoneOf(t *testing.T, account siptest.Account, script siptest.Script) (*siptest.Phone, string) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := c.LocalAddr().String()
	p := siptest.NewPhone(c, account, script)
	t.Cleanup(p.Close)
	return p, addr
}

// NameServer answers for sipx.test, whose proxies are 192.0.2.5 and, by a
// fault, 127.0.0.1; there is no other name. It returns its address.
func NameServer(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }}
	server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Rcode = dns.RcodeNameError
		if name := q.Question[0].Name; name == "sipx.test." {
			m.Rcode = dns.RcodeSuccess
			if q.Question[0].Qtype == dns.TypeA {
				for _, a := range []string{"127.0.0.1", "192.0.2.5"} {
					m.Answer = append(m.Answer, &dns.A{
						Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(a)})
				}
			}
		}
		_ = w.WriteMsg(m)
	})
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-ended
	})
	return conn.LocalAddr().String()
}

// Webhook is a webhook that answers with an action and keeps what it is told.
func Webhook(t *testing.T, answer string) (url string, events chan map[string]any) {
	t.Helper()
	events = make(chan map[string]any, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m map[string]any
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		events <- m
		io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, events
}

// NextEvent waits for an event that the webhook is told.
func NextEvent(t *testing.T, events chan map[string]any) map[string]any {
	t.Helper()
	select {
	case m := <-events:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("the webhook is not told")
		return nil
	}
}
