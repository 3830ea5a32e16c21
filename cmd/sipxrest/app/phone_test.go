package app

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/internal/metrics"
	webphone "sipxrest/phone"
	"sipxrest/policy"
	"sipxrest/sipflow/siptest"
)

// withPhone is a configuration with two users in the phone's database.
func withPhone(t *testing.T) (cfg config.Config, tokens [2]string, users [2]webphone.User) {
	t.Helper()
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg = testConfig(t, addr)
	cfg.Phone.Enabled = true
	store, err := webphone.Open(cfg.PhoneDatabase())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for i, name := range []string{"sam", "kim"} {
		if users[i], err = store.Add(t.Context(), webphone.User{Username: name}, name+"'s password"); err != nil {
			t.Fatal(err)
		}
		if _, tokens[i], err = store.LogIn(t.Context(), name, name+"'s password"); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Relate(t.Context(), webphone.Favorite, users[1].ID, users[0].ID); err != nil {
		t.Fatal(err)
	}
	return cfg, tokens, users
}

func (s *service) socket(base, token, path string) *websocket.Conn {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ws, res, err := websocket.Dial(s.t.Context(), base+path, &websocket.DialOptions{HTTPClient: client,
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		s.t.Fatal(res, err)
	}
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// Calls go over the HTTPS listeners, and end with 1001 once the drain limit is over.
func TestPhoneOnTheHTTPSListeners(t *testing.T) {
	cfg, tokens, users := withPhone(t)
	cfg.Drain = 0
	s := start(t, cfg)
	base := s.Addrs()[0]
	if !strings.HasPrefix(base, "https://") {
		t.Fatal(base)
	}
	res, err := s.client.Get(s.Addrs()[1] + "/api/v3/users/favorites")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("on the plain listener: %d", res.StatusCode)
	}
	const call = "6F9619FF-8B86-D011-B42D-00C04FC964FF"
	device := s.socket(base, tokens[1], "/api/v3/notification/socket")
	from := s.socket(base, tokens[0], "/api/v3/phone/socket/initiate/"+call+"/to/"+users[1].ID.String())
	if _, b, err := device.Read(t.Context()); err != nil || !strings.Contains(string(b), "incomingPhoneCall") {
		t.Fatalf("%s, %v", b, err)
	}
	to := s.socket(base, tokens[1], "/api/v3/phone/socket/answer/"+call)
	for _, ws := range []*websocket.Conn{from, to} {
		if _, b, err := ws.Read(t.Context()); err != nil || !strings.Contains(string(b), "phonecallStartTime") {
			t.Fatalf("%s, %v", b, err)
		}
	}
	const audio = "\x02\x00\x00\x00abcd"
	if err := from.Write(t.Context(), websocket.MessageBinary, []byte(audio)); err != nil {
		t.Fatal(err)
	}
	if _, b, err := to.Read(t.Context()); err != nil || string(b) != audio {
		t.Fatalf("%q, %v", b, err)
	}
	s.signals <- syscall.SIGTERM
	for _, ws := range []*websocket.Conn{device, from, to} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var err error
		for err == nil {
			_, _, err = ws.Read(ctx)
		}
		cancel()
		if websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("ended with %v", err)
		}
	}
}

// bufferListener tells how much its connections are to keep of what is written.
type bufferListener struct {
	net.Listener
	asked chan int
}

func (l *bufferListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &bufferConn{c, l.asked}, nil
}

type bufferConn struct {
	net.Conn
	asked chan int
}

func (c *bufferConn) SetWriteBuffer(bytes int) error {
	c.asked <- bytes
	return c.Conn.(*net.TCPConn).SetWriteBuffer(bytes)
}

// What the kernel keeps of a call's audio is bounded beneath TLS, too.
func TestSocketsOfCallsKeepLittleInTheKernel(t *testing.T) {
	cfg, tokens, _ := withPhone(t)
	store, err := webphone.Open(cfg.PhoneDatabase())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	log := slog.New(slog.DiscardHandler)
	calls, err := webphone.New(webphone.Config{Store: store, Address: func(*http.Request) netip.Addr { return netip.Addr{} }}, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, secure := range []bool{false, true} {
		socket, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var config *tls.Config
		if secure {
			cert, err := web.TemporaryCertificate([]string{"127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			config = cert.Config("")
		}
		asked := make(chan int, 1)
		l := web.NewListener(&bufferListener{socket, asked}, config, web.Room{Total: 10}, calls, log)
		ended := make(chan error)
		go func() { ended <- l.Serve() }()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		ws, _, err := websocket.Dial(t.Context(), l.URL+"/api/v3/notification/socket", &websocket.DialOptions{HTTPClient: client,
			HTTPHeader: http.Header{"Authorization": {"Bearer " + tokens[0]}}})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case n := <-asked:
			if n <= 0 || n > 64<<10 {
				t.Errorf("TLS %v: %d bytes", secure, n)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("TLS %v: as much as it likes", secure)
		}
		_ = ws.CloseNow()
		l.Close()
		<-ended
		client.CloseIdleConnections()
	}
	calls.Shutdown()
}

// On a listener of its own, and with the switch that is read again.
func TestPhoneOnItsOwnListener(t *testing.T) {
	cfg, tokens, _ := withPhone(t)
	cfg.Phone.Listen = "127.0.0.1:0"
	next := cfg
	cfg.Again = func() (config.Config, error) { return next, nil }
	s := start(t, cfg)
	ask := func(base string) int {
		t.Helper()
		r, _ := http.NewRequest("POST", base+"/api/v3/phone/decline/6F9619FF-8B86-D011-B42D-00C04FC964FF", nil)
		r.Header.Set("Authorization", "Bearer "+tokens[0])
		res, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.StatusCode
	}
	own := s.Addrs()[2]
	if !strings.HasPrefix(own, "https://") || ask(own) != 200 || ask(s.Addrs()[0]) != 404 {
		t.Errorf("%s: %d, %d", own, ask(own), ask(s.Addrs()[0]))
	}
	next.Phone.Calls = false
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if code := ask(own); code != 451 {
		t.Errorf("switched off: %d", code)
	}
}

// A user's SIP phone is rung, the caller's dial policy is asked before, and what
// came of it is counted and checked.
func TestPhoneCallsASIPPhone(t *testing.T) {
	cfg, tokens, users := withPhone(t)
	desk, addr := apptest.Phone(t, siptest.Script{HangUpAfter: 300 * time.Millisecond})
	cfg.SIP.OutboundProxy = []string{"sip:" + addr}
	cfg.Policy, cfg.Dial.Country = policy.NoPremium, "DE"
	cfg.Phone.SIP = config.PhoneSIP{Enabled: true, RTPPorts: "24000-24999", MediaAllow: []string{"127.0.0.0/8"}, Guests: true, SRTP: "offered"}
	store, err := webphone.Open(cfg.PhoneDatabase())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	call := func(s *service, number string) {
		t.Helper()
		if err := store.SetSIP(t.Context(), users[1].ID, "sip:"+number+"@"+cfg.Domain); err != nil {
			t.Fatal(err)
		}
		ws := s.socket(s.Addrs()[0], tokens[0], "/api/v3/phone/socket/initiate/"+webphone.NewID().String()+"/to/"+users[1].ID.String())
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		for {
			if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) == websocket.StatusGoingAway {
				return
			} else if err != nil {
				t.Fatalf("%s: %v", number, err)
			}
		}
	}
	s := startIdle(t, cfg)
	call(s, "09001234567")
	if n := len(desk.Requests("INVITE")); n != 0 {
		t.Errorf("%d INVITEs for a premium number", n)
	}
	s.log.WaitFor(t, `level=INFO msg="dialling refused" agent=sam@`+cfg.Domain+` target=+499001234567 policy=no-premium`)
	call(s, "202")
	if n := len(desk.Requests("INVITE")); n != 1 {
		t.Errorf("%d INVITEs for the phone", n)
	}
	if st := s.phone.Stats(); st.ToPhones != 2 || st.Answered != 1 || st.Outcomes[webphone.Declined] != 1 ||
		st.Outcomes[webphone.Completed] != 1 {
		t.Errorf("%+v", st)
	}
	r := metrics.New(metrics.Build{})
	addPhoneMetrics(r, s.phone)
	answer := httptest.NewRecorder()
	r.Handler(func() []string { return nil }).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	text := answer.Body.String()
	for _, want := range []string{`sipxrest_phone_sip_calls_total{direction="to"} 2`, `sipxrest_phone_rtp_ports{state="all"} 500`,
		`sipxrest_phone_rtp_packets_total{what="sent"}`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestAPhoneThatCannotBeOpenedNamesItsKey(t *testing.T) {
	cfg, _, _ := withPhone(t)
	cfg.Phone.Database = t.TempDir()
	if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "phone.database: ") {
		t.Errorf("%v", err)
	}
	cfg.Phone.Database = ""
	cfg.Phone.Listen = "192.0.2.254:1"
	if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "phone.listen: ") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(cfg.PhoneDatabase()); errors.Is(err, os.ErrNotExist) {
		t.Error("the database is elsewhere")
	}
}
