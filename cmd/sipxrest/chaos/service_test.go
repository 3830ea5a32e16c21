//go:build interop

package chaos

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
)

// town is the service with a proxy and many users at a few phones, all of
// which reach each other through a relay only.
type town struct {
	t      *testing.T
	relay  *relay
	proxy  *siptest.Proxy
	phones []*siptest.Phone

	base    string // URL of the service
	client  *http.Client
	signals chan os.Signal
	ended   chan error
	log     *outcomes
}

// newTown starts a service for users a0, a1, … who call, b0, … who are called
// and hang up after three seconds, c0, … who wait for others to hang up.
func newTown(t *testing.T, users int, adjust func(*config.Config)) *town {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &town{t: t, relay: newRelay(t, seed), signals: make(chan os.Signal), ended: make(chan error, 1),
		log: &outcomes{ends: map[string][]string{}}, client: &http.Client{Timeout: 20 * time.Second,
			// The service closes a connection that was idle for a minute: a client that does so first never
			// sends a POST into one that is being closed, which nobody may send again by himself.
			Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 20 * time.Second}}}
	proxyConn, proxyFront := w.relay.socket()
	cfg := siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"200": "secret"}, Locations: map[string]string{}}
	const perKind = 10
	for i, script := range []siptest.Script{
		{Ring: 300 * time.Millisecond, Refer: siptest.Refer{Follow: true}},
		{Ring: 500 * time.Millisecond, HangUpAfter: 3 * time.Second},
		{Ring: 500 * time.Millisecond},
	} {
		kind := string(rune('a' + i))
		cfg.Users[kind] = "x" // as which the phones call
		for j := range perKind {
			c, front := w.relay.socket()
			w.phones = append(w.phones, siptest.NewPhone(c, siptest.Account{User: kind, Domain: "sipx.test", Password: "x", Proxy: proxyFront},
				script))
			for u := j; u < users; u += perKind {
				user := fmt.Sprint(kind, u)
				cfg.Users[user], cfg.Locations[user] = "x", "sip:"+user+"@"+front.String()
			}
		}
	}
	w.proxy = siptest.NewProxy(proxyConn, cfg)
	w.serve(proxyFront.String(), adjust)
	return w
}

// serve starts the service, which has a front at another address.
func (w *town) serve(proxy string, adjust func(*config.Config)) {
	w.t.Helper()
	dir := w.t.TempDir()
	users := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(users, []byte(`- {user: "200", pin: "1", sip-password: secret}`+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Domain, cfg.DataDir, cfg.Users = "sipx.test", filepath.Join(dir, "data"), []string{users}
	cfg.HTTP = []config.HTTPListener{{Listen: "127.0.0.1:0", Auth: "trusted"}}
	cfg.Trusted = []string{"127.0.0.0/8"}
	cfg.SIP.OutboundProxy = []string{"sip:" + proxy}
	cfg.SIP.ExternalAddress = "127.0.0.2"
	cfg.Log.Calls = true
	if adjust != nil {
		adjust(&cfg)
	}
	for try := 1; ; try++ {
		at, _ := w.relay.join(cfg.SIP.ExternalAddress)
		cfg.SIP.Listen = []string{"udp:" + at.String()}
		a, err := app.New(cfg, slog.New(w.log))
		if err != nil { // somebody has the port
			if try == 5 {
				w.t.Fatal(err)
			}
			continue
		}
		w.base = a.Addrs()[0]
		go func() { w.ended <- a.Serve(w.signals) }()
		return
	}
}

// do sends a request for a call and answers its status, document and ETag.
func (w *town) do(method, path string) (status int, body, etag string) {
	req, err := http.NewRequest(method, w.base+"/callcontroller/"+path, nil)
	if err != nil {
		w.t.Error(err)
		return 0, "", ""
	}
	res, err := w.client.Do(req)
	if err != nil {
		w.t.Errorf("%s %s: %v", method, path, err)
		return 0, "", ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Errorf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, string(b), res.Header.Get("ETag")
}

// stop ends the service as systemd does.
func (w *town) stop() {
	w.t.Helper()
	w.signals <- syscall.SIGTERM
	select {
	case err := <-w.ended:
		if err != nil {
			w.t.Errorf("the service ended with %v", err)
		}
	case <-time.After(90 * time.Second):
		w.t.Error("the service does not end")
	}
	w.client.CloseIdleConnections()
}

// awaitOnHook waits until every phone is on-hook.
func (w *town) awaitOnHook() {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), 75*time.Second)
	defer stop()
	for i, p := range w.phones {
		if p.Wait(ctx, p.OnHook) != nil {
			log := p.Log()
			w.t.Errorf("phone %d is off-hook in %d calls; it saw\n%s", i, p.Dialogs(), strings.Join(log[max(0, len(log)-40):], "\n"))
		}
	}
}

// close ends all but the service.
func (w *town) close() {
	for _, p := range w.phones {
		p.Close()
	}
	w.proxy.Close()
	w.relay.close()
	w.phones, w.proxy = nil, nil
}

// outcomes is the service's log: it keeps how each call ended, and tells what
// an operator would have to look into.
type outcomes struct {
	mu    sync.Mutex
	ends  map[string][]string // by "calling/called"
	worst []string
}

func (o *outcomes) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (o *outcomes) WithAttrs([]slog.Attr) slog.Handler           { return o }
func (o *outcomes) WithGroup(string) slog.Handler                { return o }

func (o *outcomes) Handle(_ context.Context, r slog.Record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	attrs := map[string]string{}
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.String()
		return true
	})
	if strings.HasPrefix(r.Message, "call ended") {
		user := func(aor string) string { name, _, _ := strings.Cut(aor, "@"); return name }
		key := user(attrs["calling"]) + "/" + user(attrs["called"])
		o.ends[key] = append(o.ends[key], attrs["error"])
	} else if r.Level >= slog.LevelError {
		o.worst = append(o.worst, fmt.Sprint(r.Message, attrs))
	}
	return nil
}

// of is how the call of a path ended.
func (o *outcomes) of(path string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ends[path]
}
