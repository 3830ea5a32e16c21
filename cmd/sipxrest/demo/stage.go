package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
)

const (
	domain = "sipx.test"
	pin    = "1234" // of the user 201, for HTTP
	ring   = time.Second

	// pages is where pages of the user's own may come from: python3 -m http.server.
	pages = "http://localhost:8000"
)

// passwords are the SIP passwords of the users.
var passwords = map[string]string{"201": "first-secret", "202": "second-secret"}

// stage is everything that plays: proxy, phones and the service.
type stage struct {
	out         io.Writer
	proxy       *siptest.Proxy
	calling     *siptest.Phone
	called      *phone
	client      *http.Client
	https, http string // base URLs of the service
	key         string // an API key that may do everything
	keys        string // the file with the keys

	dir     string // the service's files
	stop    context.CancelFunc
	service sync.WaitGroup
	served  error // what the service returned, after service.Wait
}

func newStage(ctx context.Context, log *slog.Logger, out io.Writer) (_ *stage, err error) {
	s := &stage{out: &lockedWriter{w: out}, client: newClient()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not started after %v", patience))
	defer cancel()
	if err := s.startPhones(ctx); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := s.startService(log); err != nil {
		return nil, err
	}
	return s, nil
}

// startPhones starts the proxy and lets both phones register with it.
func (s *stage) startPhones(ctx context.Context) error {
	socket, err := listen()
	if err != nil {
		return err
	}
	s.proxy = siptest.NewProxy(socket, siptest.ProxyConfig{Domain: domain, Users: passwords})
	if socket, err = listen(); err != nil {
		return err
	}
	s.calling = siptest.NewPhone(socket, siptest.Account{
		User: "201", Domain: domain, Password: passwords["201"], Proxy: s.proxy.Addr(),
	}, siptest.Script{Ring: ring, Refer: siptest.Refer{Follow: true}})
	if socket, err = listen(); err != nil {
		return err
	}
	if s.called, err = newPhone(socket, "202", passwords["202"], s.proxy.Addr().String()); err != nil {
		socket.Close()
		return err
	}
	for _, p := range s.phones() {
		if err := p.Register(ctx); err != nil {
			return fmt.Errorf("phone %s: %w", p.AOR(), err)
		}
	}
	return nil
}

// A user has a phone, of either stack.
type user interface {
	Register(ctx context.Context) error
	AOR() string
	Log() []string
	Wait(ctx context.Context, cond func() bool) error
	OnHook() bool
	HangUp()
	Close()
}

// phones returns those that have been started.
func (s *stage) phones() (all []user) {
	if s.calling != nil {
		all = append(all, s.calling)
	}
	if s.called != nil {
		all = append(all, s.called)
	}
	return all
}

func listen() (*net.UDPConn, error) {
	return net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
}

// startService starts sipxrest as an operator would, with a users' file.
func (s *stage) startService(log *slog.Logger) (err error) {
	if s.dir, err = os.MkdirTemp("", "sipxrest-demo-"); err != nil {
		return err
	}
	users := filepath.Join(s.dir, "users.yaml")
	yaml := fmt.Sprintf("- {user: \"201\", name: Bob Caller, pin: %q, sip-password: %q}\n", pin, passwords["201"])
	if err := os.WriteFile(users, []byte(yaml), 0o600); err != nil {
		return err
	}
	cfg := config.Default()
	cfg.Domain = domain
	cfg.DataDir = filepath.Join(s.dir, "data")
	cfg.Users = []string{users}
	cfg.SIP.Listen = []string{"udp:127.0.0.1:0"}
	cfg.SIP.OutboundProxy = []string{"sip:" + s.proxy.Addr().String()}
	cfg.HTTP = []config.HTTPListener{
		{Listen: "127.0.0.1:0", TLS: &config.TLS{}, Auth: "trusted-or-pin"},
		{Listen: "127.0.0.1:0", Auth: "pin"},
	}
	cfg.Trusted = nil // nobody: the demo shows the PIN, and asks no DNS
	cfg.Drain = time.Second
	cfg.Trace.Messages = "all"                        // docs/trace.md can be tried
	cfg.AllowedOrigins = []string{pages}              // docs/click-to-call.md can be tried
	cfg.Events.AllowPrivate = []string{"127.0.0.0/8"} // receivers of webhooks are tried on this machine
	if err := s.makeKey(&cfg); err != nil {
		return err
	}
	service, err := app.New(cfg, log)
	if err != nil {
		return err
	}
	addrs := service.Addrs()
	s.https, s.http = addrs[0], addrs[1]
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background()) // it ends after the phones have hung up
	s.service.Go(func() { s.served = service.Run(ctx) })
	return nil
}

// makeKey makes the API key, as "sipxrest key add" would.
func (s *stage) makeKey(cfg *config.Config) error {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return err
	}
	text, k := api.NewKey("demo")
	k.Scopes, k.Agents, k.Created = []api.Scope{api.Admin}, []string{"*"}, time.Now().UTC().Truncate(time.Second)
	s.key, s.keys = text, cfg.KeysFile()
	return api.ChangeKeys(s.keys, func(all []api.Key) ([]api.Key, error) { return append(all, k), nil })
}

// close hangs up, stops everything and removes the files.
func (s *stage) close() error {
	for _, p := range s.phones() {
		p.HangUp()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = p.Wait(ctx, p.OnHook) // the other end is stopped too: no need to insist
		cancel()
	}
	if s.stop != nil {
		s.stop()
		s.service.Wait()
	}
	for _, p := range s.phones() {
		p.Close()
	}
	if s.proxy != nil {
		s.proxy.Close()
	}
	s.client.CloseIdleConnections()
	var removed error
	if s.dir != "" && strings.Contains(s.dir, "sipxrest-demo-") {
		removed = os.RemoveAll(s.dir)
	}
	return errors.Join(s.served, removed)
}

// lockedWriter takes lines of several goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
