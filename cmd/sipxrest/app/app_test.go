package app

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

// A service is an App that runs in the test, with a log that can be waited on.
type service struct {
	*App
	t       *testing.T
	log     *logLines
	signals chan os.Signal
	ended   chan error
	client  *http.Client
}

const usersYAML = `- {user: "201", aliases: [bob], pin: "123", sip-password: "123"}` + "\n"

// testConfig is a configuration on free ports; proxy gets every SIP request.
func testConfig(t *testing.T, proxy string) Config {
	dir := t.TempDir()
	cfg := Default()
	cfg.Domain = "sipx.test"
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.Users = []string{write(t, dir, "users.yaml", usersYAML)}
	cfg.SIP.Listen = []string{"udp:127.0.0.1:0"}
	cfg.SIP.OutboundProxy = []string{"sip:" + proxy}
	cfg.HTTP = []HTTPListener{
		{Listen: "127.0.0.1:0", TLS: &TLS{}, Auth: "trusted-or-pin"},
		{Listen: "127.0.0.1:0", Auth: "trusted"},
	}
	cfg.Trusted = []string{"127.0.0.0/8"}
	cfg.Drain = time.Minute
	return cfg
}

// start runs a service and waits until it serves. The test's end ends it.
func start(t *testing.T, cfg Config) *service {
	t.Helper()
	log := newLogLines()
	a, err := New(cfg, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{App: a, t: t, log: log, signals: make(chan os.Signal), ended: make(chan error, 1)}
	s.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	go func() { s.ended <- a.Serve(s.signals) }()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		for signals, sent := s.signals, 0; ; {
			select {
			case signals <- syscall.SIGTERM:
				if sent++; sent == 2 {
					signals = nil // the third would leave goroutines behind
				}
			case err := <-s.ended:
				if err != nil && !strings.Contains(err.Error(), "third signal") {
					t.Error(err)
				}
				return
			}
		}
	})
	log.waitFor(t, "sipxrest serves")
	return s
}

// stop waits until a service that got its signals has ended.
func (s *service) stop() error {
	s.t.Helper()
	select {
	case err := <-s.ended:
		s.ended <- nil // for the cleanup
		return err
	case <-time.After(20 * time.Second):
		s.t.Fatalf("the service does not end:\n%s", s.log)
		return nil
	}
}

func (s *service) do(method, url string, header ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(header) == 2 {
		req.SetBasicAuth(header[0], header[1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

const callPath = "/callcontroller/201/202"

// phone answers every request at a UDP address, as the script says.
func phone(t *testing.T, script siptest.Script) (*siptest.Phone, string) {
	t.Helper()
	return phoneOf(t, siptest.Account{User: "201"}, script)
}

func phoneOf(t *testing.T, account siptest.Account, script siptest.Script) (*siptest.Phone, string) {
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

func TestItServesByTLSAndPlainOnceItSaysSo(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	s := start(t, testConfig(t, addr))
	addrs := s.Addrs()
	if len(addrs) != 3 || !strings.HasPrefix(addrs[0], "https://127.0.0.1:") ||
		!strings.HasPrefix(addrs[1], "http://127.0.0.1:") || !strings.HasPrefix(addrs[2], "udp:127.0.0.1:") {
		t.Fatalf("addresses %q", addrs)
	}
	for _, a := range addrs {
		if !strings.Contains(s.log.String(), a) {
			t.Errorf("the log does not name %s", a)
		}
	}
	if resp := s.do("GET", addrs[0]+callPath); resp.StatusCode != 200 || resp.TLS == nil {
		t.Errorf("GET by TLS: %s", resp.Status)
	}
	if resp := s.do("GET", addrs[1]+callPath); resp.StatusCode != 200 {
		t.Errorf("GET: %s", resp.Status)
	}
	if got := s.log.String(); strings.Count(got, "self-signed certificate made") != 1 || !strings.Contains(got, s.ownCert.fingerprint()) {
		t.Errorf("the log does not tell the certificate once:\n%s", got)
	}
}

func TestEachListenerHasItsOwnPolicy(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.Trusted = nil
	cfg.HTTP = append(cfg.HTTP, HTTPListener{Listen: "127.0.0.1:0", Auth: "pin"})
	s := start(t, cfg)
	for i, want := range []struct{ without, basic int }{{401, 200}, {403, 403}, {401, 401}} {
		url := s.Addrs()[i] + callPath
		if got := s.do("GET", url).StatusCode; got != want.without {
			t.Errorf("%s without a PIN: %d, want %d", url, got, want.without)
		}
		if got := s.do("GET", url, "201", "123").StatusCode; got != want.basic {
			t.Errorf("%s by Basic: %d, want %d", url, got, want.basic)
		}
	}
}

func TestDrainingRefusesNewCallsAndLetsOthersBeRead(t *testing.T) {
	p, addr := phone(t, siptest.Script{NeverAnswer: true})
	s := start(t, testConfig(t, addr))
	url := s.Addrs()[1] + callPath
	if resp := s.do("POST", url); resp.StatusCode != 200 {
		t.Fatalf("POST: %s", resp.Status)
	}
	s.signals <- syscall.SIGTERM
	s.log.waitFor(t, "shutting down")
	resp := s.do("POST", s.Addrs()[1]+"/callcontroller/201/203")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("POST while draining: %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	if resp := s.do("GET", url); resp.StatusCode != 200 {
		t.Errorf("GET while draining: %s", resp.Status)
	}
	s.signals <- syscall.SIGTERM // at once
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if !p.OnHook() {
		t.Errorf("the phone is left ringing: %v", p.Log())
	}
	if !strings.Contains(s.log.String(), "hung up at once") {
		t.Errorf("log:\n%s", s.log)
	}
}

func TestCallsAreHungUpAtTheDrainLimit(t *testing.T) {
	p, addr := phone(t, siptest.Script{NeverAnswer: true})
	cfg := testConfig(t, addr)
	cfg.Drain = time.Millisecond
	s := start(t, cfg)
	if resp := s.do("POST", s.Addrs()[1]+callPath); resp.StatusCode != 200 {
		t.Fatalf("POST: %s", resp.Status)
	}
	s.signals <- syscall.SIGTERM
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if !p.OnHook() || !strings.Contains(s.log.String(), "at the drain limit") {
		t.Errorf("phone %v\nlog:\n%s", p.Log(), s.log)
	}
}

func TestWithoutCallsItEndsAtOnce(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	s := start(t, testConfig(t, addr))
	s.signals <- syscall.SIGINT
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(s.Addrs()[1], "http://")); err == nil {
		t.Error("the port is still open")
	}
}

func TestHUPReadsUsersAndCertificatesAgain(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.Trusted = nil
	s := start(t, cfg)
	url := s.Addrs()[0] + "/callcontroller/204/202"
	before := s.do("GET", url, "204", "456")
	if before.StatusCode != 401 {
		t.Fatalf("an unknown user got %s", before.Status)
	}
	certPEM, keyPEM, err := makeSelfSigned([]string{"new.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write(t, cfg.DataDir, "self-signed.crt", string(certPEM))
	write(t, cfg.DataDir, "self-signed.key", string(keyPEM))
	write(t, filepath.Dir(cfg.Users[0]), "users.yaml", usersYAML+`- {user: "204", pin: "456"}`+"\n")
	s.signals <- syscall.SIGHUP
	s.log.waitFor(t, "msg=reloaded users=2 certificates=1")
	s.client.CloseIdleConnections() // a new handshake
	after := s.do("GET", url, "204", "456")
	if after.StatusCode != 200 {
		t.Errorf("the new user got %s", after.Status)
	}
	was, is := sha256.Sum256(before.TLS.PeerCertificates[0].Raw), sha256.Sum256(after.TLS.PeerCertificates[0].Raw)
	if was == is {
		t.Error("the old certificate is still presented")
	}
}

func TestAFailedReloadKeepsUsersAndCertificates(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.Trusted = nil
	s := start(t, cfg)
	write(t, filepath.Dir(cfg.Users[0]), "users.yaml", `- {usr: "204"}`)
	write(t, cfg.DataDir, "self-signed.crt", "x")
	err := s.Reload()
	for _, want := range []string{"users.yaml:1", "self-signed.crt"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	if resp := s.do("GET", s.Addrs()[0]+callPath, "201", "123"); resp.StatusCode != 200 {
		t.Errorf("GET: %s", resp.Status)
	}
}

func TestAStartThatFailsNamesTheKeyAndLeavesNothingOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, addr := phone(t, siptest.Script{})
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"HTTP port in use", func(c *Config) {
			c.HTTP[1].Listen = taken.Addr().String()
			c.origin = map[string]string{"http": "sipxrest.yaml:7"}
		}, "sipxrest.yaml:7: http: listener 2: listen tcp " + taken.Addr().String() + ": bind: address already in use: another program"},
		{"SIP port in use", func(c *Config) { c.SIP.Listen = []string{"udp:127.0.0.1:0", "tcp:" + taken.Addr().String()} },
			"sip.listen"},
		{"foreign address", func(c *Config) { c.HTTP[0].Listen = "192.0.2.1:0" }, "this machine has the addresses"},
		{"certificate missing", func(c *Config) { c.HTTP[0].TLS = &TLS{Cert: "/no.crt", Key: "/no.key"} }, "http: listener 1: certificate /no.crt"},
		{"users missing", func(c *Config) { c.Users = []string{"/no.yaml"} }, "/no.yaml"},
		{"invalid", func(c *Config) { c.Domain = "" }, "domain: missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(t, addr)
			tt.change(&cfg)
			a, err := New(cfg, slog.New(slog.DiscardHandler))
			if err == nil {
				a.Close()
				t.Fatal("it starts")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\n want …%s…", err, tt.want)
			}
		})
	}
}

func TestSystemdIsToldEveryChange(t *testing.T) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	_, addr := phone(t, siptest.Script{})
	s := start(t, testConfig(t, addr))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	s.signals <- syscall.SIGTERM
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	_ = socket.SetReadDeadline(time.Now().Add(5 * time.Second))
	for _, want := range []string{"READY=1", "RELOADING=1\nMONOTONIC_USEC=", "READY=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC="} {
		buf := make([]byte, 256)
		n, err := socket.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Errorf("got %q (%v), want %q", buf[:n], err, want)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	_, addr := phone(t, siptest.Script{})
	a, err := New(testConfig(t, addr), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Error(err)
	}
}
