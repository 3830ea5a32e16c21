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

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/sipflow/siptest"
)

// A service is an App that runs in the test, with a log that can be waited on.
type service struct {
	*App
	t       *testing.T
	log     *apptest.Log
	signals chan os.Signal
	ended   chan error
	client  *http.Client
}

// testConfig is a configuration on free ports; proxy gets every SIP request.
func testConfig(t *testing.T, proxy string) config.Config {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Domain = "sipx.test"
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.Users = []string{apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)}
	cfg.SIP.Listen = []string{"udp:127.0.0.1:0"}
	cfg.SIP.OutboundProxy = []string{"sip:" + proxy}
	cfg.HTTP = []config.HTTPListener{
		{Listen: "127.0.0.1:0", TLS: &config.TLS{}, Auth: "trusted-or-pin"},
		{Listen: "127.0.0.1:0", Auth: "trusted"},
	}
	cfg.Trusted = []string{"127.0.0.0/8"}
	cfg.Drain = time.Minute
	return cfg
}

// start runs a service and waits until it serves. The test's end ends it.
func start(t *testing.T, cfg config.Config) *service {
	t.Helper()
	log := apptest.NewLog()
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
	log.WaitFor(t, "sipxrest serves")
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

func TestItServesByTLSAndPlainOnceItSaysSo(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
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
	if resp := s.do("GET", addrs[0]+apptest.CallPath); resp.StatusCode != 200 || resp.TLS == nil {
		t.Errorf("GET by TLS: %s", resp.Status)
	}
	if resp := s.do("GET", addrs[1]+apptest.CallPath); resp.StatusCode != 200 {
		t.Errorf("GET: %s", resp.Status)
	}
	if got := s.log.String(); strings.Count(got, "self-signed certificate made") != 1 || !strings.Contains(got, s.ownCert.Fingerprint()) {
		t.Errorf("the log does not tell the certificate once:\n%s", got)
	}
}

func TestEachListenerHasItsOwnPolicy(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.Trusted = nil
	cfg.HTTP = append(cfg.HTTP, config.HTTPListener{Listen: "127.0.0.1:0", Auth: "pin"})
	s := start(t, cfg)
	for i, want := range []struct{ without, basic int }{{401, 200}, {403, 403}, {401, 401}} {
		url := s.Addrs()[i] + apptest.CallPath
		if got := s.do("GET", url).StatusCode; got != want.without {
			t.Errorf("%s without a PIN: %d, want %d", url, got, want.without)
		}
		if got := s.do("GET", url, "201", "123").StatusCode; got != want.basic {
			t.Errorf("%s by Basic: %d, want %d", url, got, want.basic)
		}
	}
}

func TestDrainingRefusesNewCallsAndLetsOthersBeRead(t *testing.T) {
	p, addr := apptest.Phone(t, siptest.Script{NeverAnswer: true})
	s := start(t, testConfig(t, addr))
	url := s.Addrs()[1] + apptest.CallPath
	if resp := s.do("POST", url); resp.StatusCode != 200 {
		t.Fatalf("POST: %s", resp.Status)
	}
	s.signals <- syscall.SIGTERM
	s.log.WaitFor(t, "shutting down")
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
	p, addr := apptest.Phone(t, siptest.Script{NeverAnswer: true})
	cfg := testConfig(t, addr)
	cfg.Drain = time.Millisecond
	s := start(t, cfg)
	if resp := s.do("POST", s.Addrs()[1]+apptest.CallPath); resp.StatusCode != 200 {
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
	_, addr := apptest.Phone(t, siptest.Script{})
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
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.Trusted = nil
	s := start(t, cfg)
	url := s.Addrs()[0] + "/callcontroller/204/202"
	before := s.do("GET", url, "204", "456")
	if before.StatusCode != 401 {
		t.Fatalf("an unknown user got %s", before.Status)
	}
	certPEM, keyPEM, err := web.MakeSelfSigned([]string{"new.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	apptest.Write(t, cfg.DataDir, "self-signed.crt", string(certPEM))
	apptest.Write(t, cfg.DataDir, "self-signed.key", string(keyPEM))
	apptest.Write(t, filepath.Dir(cfg.Users[0]), "users.yaml", apptest.UsersYAML+`- {user: "204", pin: "456"}`+"\n")
	s.signals <- syscall.SIGHUP
	s.log.WaitFor(t, "msg=reloaded users=2 certificates=1")
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
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.Trusted = nil
	s := start(t, cfg)
	apptest.Write(t, filepath.Dir(cfg.Users[0]), "users.yaml", `- {usr: "204"}`)
	apptest.Write(t, cfg.DataDir, "self-signed.crt", "x")
	err := s.Reload()
	for _, want := range []string{"users.yaml:1", "self-signed.crt"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	if resp := s.do("GET", s.Addrs()[0]+apptest.CallPath, "201", "123"); resp.StatusCode != 200 {
		t.Errorf("GET: %s", resp.Status)
	}
}

func TestAStartThatFailsNamesTheKeyAndLeavesNothingOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, addr := apptest.Phone(t, siptest.Script{})
	for _, tt := range []struct {
		name   string
		change func(*config.Config)
		want   string
	}{
		{"HTTP port in use", func(c *config.Config) {
			c.HTTP[1].Listen = taken.Addr().String()
			*c = loadedAs(t, *c, "http", "[{listen: '127.0.0.1:0', auth: pin}, {listen: '"+taken.Addr().String()+"', auth: trusted}]")
		}, "--set: http: listener 2: listen tcp " + taken.Addr().String() + ": bind: address already in use: another program"},
		{"SIP port in use", func(c *config.Config) { c.SIP.Listen = []string{"udp:127.0.0.1:0", "tcp:" + taken.Addr().String()} },
			"sip.listen"},
		{"foreign address", func(c *config.Config) { c.HTTP[0].Listen = "192.0.2.1:0" }, "this machine has the addresses"},
		{"certificate missing", func(c *config.Config) { c.HTTP[0].TLS = &config.TLS{Cert: "/no.crt", Key: "/no.key"} },
			"http: listener 1: certificate /no.crt"},
		{"users missing", func(c *config.Config) { c.Users = []string{"/no.yaml"} }, "/no.yaml"},
		{"invalid", func(c *config.Config) { c.Domain = "" }, "domain: missing"},
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

// loadedAs is a configuration that was loaded, with the sections of cfg and a key
// that the command line sets.
func loadedAs(t *testing.T, cfg config.Config, key, value string) config.Config {
	t.Helper()
	loaded, err := config.Load(config.Source{Set: []config.Setting{
		{Flag: "--domain", Key: "domain", Value: cfg.Domain},
		{Flag: "--users", Key: "users", Value: cfg.Users[0]},
		{Flag: "--set", Key: key, Value: value},
	}})
	if err != nil {
		t.Fatal(err)
	}
	loaded.DataDir, loaded.SIP, loaded.Trusted, loaded.Drain = cfg.DataDir, cfg.SIP, cfg.Trusted, cfg.Drain
	return loaded
}

func TestSystemdIsToldEveryChange(t *testing.T) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	_, addr := apptest.Phone(t, siptest.Script{})
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
	_, addr := apptest.Phone(t, siptest.Script{})
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

func TestADataDirThatCannotBeWrittenToIsNamed(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	for name, dir := range map[string]func(cfg *config.Config) string{
		"is a file":    func(cfg *config.Config) string { return cfg.Users[0] },
		"below a file": func(cfg *config.Config) string { return filepath.Join(cfg.Users[0], "data") },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, addr)
			cfg.DataDir = dir(&cfg)
			a, err := New(cfg, slog.New(slog.DiscardHandler))
			if err == nil {
				a.Close()
				t.Fatal("it starts")
			}
			for _, want := range []string{"data-dir", cfg.DataDir, "http: listener 1"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %s", err, want)
				}
			}
		})
	}
}
