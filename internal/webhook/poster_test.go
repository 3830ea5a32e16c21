package webhook

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// nets reads networks.
func nets(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// poster makes one that may post to some networks, which may change.
func testPoster(t *testing.T, r *net.Resolver, private *atomic.Pointer[[]netip.Prefix]) *Poster {
	t.Helper()
	p := NewPoster("test", r, func() []netip.Prefix { return *private.Load() }, nil)
	t.Cleanup(p.Close)
	return p
}

func allow(list ...string) *atomic.Pointer[[]netip.Prefix] {
	p := &atomic.Pointer[[]netip.Prefix]{}
	all := nets(list...)
	p.Store(&all)
	return p
}

// names serves DNS: each name leads to its addresses in turn, one for each look-up.
func names(t *testing.T, zone map[string][]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]int{} // guarded by mu
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := strings.TrimSuffix(q.Question[0].Name, ".")
		mu.Lock()
		defer mu.Unlock()
		if list := zone[name]; len(list) > 0 {
			a := netip.MustParseAddr(list[min(asked[name], len(list)-1)])
			h := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET}
			switch qtype := q.Question[0].Qtype; {
			case qtype == dns.TypeA && a.Is4():
				m.Answer = append(m.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
			case qtype == dns.TypeAAAA && a.Is6():
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
			}
			if q.Question[0].Qtype == dns.TypeA {
				asked[name]++
			}
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() { _ = server.ActivateAndServe(); close(done) }()
	t.Cleanup(func() { _ = server.Shutdown(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// target is a server that nobody may reach, and counts who does.
func target(t *testing.T, h http.HandlerFunc) (port string, conns *atomic.Int64) {
	t.Helper()
	conns = &atomic.Int64{}
	if h == nil {
		h = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	}
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return port, conns
}

func post(p *Poster, url string) (Posted, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return p.Post(ctx, url, http.Header{}, []byte("{}"))
}

func TestNothingInsideIsReachedByAName(t *testing.T) {
	port, conns := target(t, nil)
	r := names(t, map[string][]string{
		"loop.test": {"127.0.0.1"}, "mapped.test": {"::ffff:127.0.0.1"}, "nat64.test": {"64:ff9b::7f00:1"}, "local.test": {"169.254.169.254"},
		"v6.test": {"::1"}, "link6.test": {"fe80::1"}, "sixtofour.test": {"2002:7f00:1::1"},
		"private.test": {"10.0.0.5"}, "any.test": {"0.0.0.0"},
	})
	for _, scheme := range []string{"https", "http"} {
		p := testPoster(t, r, allow())
		for _, host := range []string{"loop.test", "mapped.test", "nat64.test", "local.test", "v6.test", "link6.test", "sixtofour.test",
			"private.test",
			"any.test", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[::127.0.0.1]", "169.254.169.254", "localhost",
			"[fe80::1]", "0.0.0.0"} {
			_, err := post(p, scheme+"://"+host+":"+port+"/")
			var private *PrivateError
			if !errors.As(err, &private) {
				t.Errorf("%s://%s: %v", scheme, host, err)
			} else if !strings.Contains(err.Error(), "events.allow-private") {
				t.Errorf("%s: %v", host, err)
			}
		}
		// Spellings that the system's own functions would read as addresses.
		for _, host := range []string{"2130706433", "0x7f000001", "127.1", "017700000001"} {
			if _, err := post(p, scheme+"://"+host+":"+port+"/"); err == nil {
				t.Errorf("%s is reached", host)
			}
		}
	}
	if n := conns.Load(); n != 0 {
		t.Errorf("%d connections have reached the listener", n)
	}
}

func TestANameThatRebindsIsJudgedAtEachConnection(t *testing.T) {
	port, conns := target(t, nil)
	networks := allow("127.0.0.1/32")
	p := testPoster(t, names(t, map[string][]string{"rebind.test": {"127.0.0.1", "127.0.0.2"}}), networks)
	if _, err := post(p, "http://rebind.test:"+port+"/"); err != nil {
		t.Fatal(err)
	}
	before := conns.Load()
	if _, err := post(p, "http://rebind.test:"+port+"/"); err != nil || conns.Load() != before {
		t.Errorf("the connection is not kept: %v", err)
	}
	p.Renew() // as after a minute
	_, err := post(p, "http://rebind.test:"+port+"/")
	var private *PrivateError
	if !errors.As(err, &private) || conns.Load() != before {
		t.Errorf("it leads elsewhere now, and is reached: %v", err)
	}
}

func TestWhatIsNoLongerAllowedIsNotReachedByAnOldConnection(t *testing.T) {
	port, conns := target(t, nil)
	networks := allow("127.0.0.0/8")
	p := testPoster(t, nil, networks)
	url := "http://127.0.0.1:" + port + "/"
	if got, err := post(p, url); err != nil || got.Code != http.StatusNoContent {
		t.Fatal(got, err)
	}
	before := conns.Load()
	networks.Store(&[]netip.Prefix{})
	p.Renew()
	if _, err := post(p, url); err == nil || conns.Load() != before {
		t.Errorf("it is still reached: %v", err)
	}
}

func TestConnectionsAreNotKeptForMoreThanAMinute(t *testing.T) {
	port, conns := target(t, nil)
	p := testPoster(t, nil, allow("127.0.0.0/8"))
	url := "http://127.0.0.1:" + port + "/"
	for range 3 {
		if _, err := post(p, url); err != nil {
			t.Fatal(err)
		}
	}
	if conns.Load() != 1 {
		t.Fatalf("%d connections for three posts", conns.Load())
	}
	p.mu.Lock()
	p.retires = p.retires.Add(-maxLife)
	p.mu.Unlock()
	if _, err := post(p, url); err != nil || conns.Load() != 2 {
		t.Errorf("%d connections: %v", conns.Load(), err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	inner, conns := target(t, nil)
	port, _ := target(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:"+inner+"/", http.StatusTemporaryRedirect)
	})
	got, err := post(testPoster(t, nil, allow("127.0.0.0/8")), "http://127.0.0.1:"+port+"/")
	if err != nil || got.Code != http.StatusTemporaryRedirect || conns.Load() != 0 {
		t.Errorf("%d %v, %d connections", got.Code, err, conns.Load())
	}
}

func TestClearTextIsForNamedNetworksOnly(t *testing.T) {
	p := testPoster(t, names(t, map[string][]string{"public.test": {"1.1.1.1"}}), allow("10.0.0.0/8"))
	_, err := post(p, "http://public.test/")
	var private *PrivateError
	if !errors.As(err, &private) || !strings.Contains(err.Error(), "https://") {
		t.Error(err)
	}
}

func TestNoProxyOfTheEnvironmentIsAsked(t *testing.T) {
	port, conns := target(t, nil)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:"+port)
	}
	p := testPoster(t, nil, allow())
	if p.newTransport(false).Proxy != nil || p.newTransport(true).Proxy != nil {
		t.Error("a proxy would be asked")
	}
	_, _ = post(p, "http://10.0.0.5/")
	if conns.Load() != 0 {
		t.Error("the proxy was asked")
	}
}

func TestBodiesOfResponsesAreBoundedInSizeAndTime(t *testing.T) {
	stop := make(chan struct{})
	port, _ := target(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		switch r.URL.Path {
		case "/endless":
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
					return
				}
			}
		case "/slow":
			w.WriteHeader(http.StatusOK)
			_, _ = io.WriteString(w, "be")
			_ = rc.Flush()
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		case "/silent":
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		}
	})
	defer close(stop)
	p := testPoster(t, nil, allow("127.0.0.0/8"))
	if got, err := post(p, "http://127.0.0.1:"+port+"/endless"); err != nil || len(got.Body) != maxTaken {
		t.Errorf("endless: %d bytes, %v", len(got.Body), err)
	}
	began := time.Now()
	if got, err := post(p, "http://127.0.0.1:"+port+"/slow"); err != nil || got.Code != http.StatusOK || string(got.Body) != "be" ||
		time.Since(began) > 5*time.Second {
		t.Errorf("slow: %q, %v after %v", got.Body, err, time.Since(began))
	}
	late := errors.New("late")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 50*time.Millisecond, late)
	defer cancel()
	if _, err := p.Post(ctx, "http://127.0.0.1:"+port+"/silent", http.Header{}, nil); !errors.Is(err, late) {
		t.Errorf("silent: %v", err)
	}
}

func TestAClosedConnectionCostsNoAttempt(t *testing.T) {
	var asked atomic.Int64
	port, conns := target(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Values("Idempotency-Key"); len(got) > 0 {
			t.Errorf("Idempotency-Key %q", got)
		}
		if asked.Add(1) == 2 { // on the connection that was kept
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
		}
	})
	p := testPoster(t, nil, allow("127.0.0.0/8"))
	for range 2 {
		if got, err := post(p, "http://127.0.0.1:"+port+"/"); err != nil || got.Code != http.StatusOK {
			t.Fatal(got, err)
		}
	}
	if conns.Load() != 2 || asked.Load() != 3 {
		t.Errorf("%d connections, %d requests", conns.Load(), asked.Load())
	}
}

func TestPostURLs(t *testing.T) {
	private := nets("10.0.0.0/8", "fd00::/8", "::1/128")
	for _, url := range []string{"https://hooks.example/a?b=c", "https://hooks.example:8443", "https://1.1.1.1/", "https://[2606:4700::1111]/",
		"https://10.0.0.5/", "http://10.0.0.5:8080/x", "http://hooks.example/", "https://[fd00::1]/", "https://localhost/"} {
		if err := CheckPostURL(url, private); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"", "hooks.example", "ftp://hooks.example/", "https:hooks.example", "https://",
		"https://u:secret@hooks.example/",
		"https://hooks.example/#a", "https://hooks.example/#", "https://hooks.example:0/", "https://hooks.example:65536/",
		"https://hooks.example:/",
		"https://hooks.example:x/", "https://192.168.0.1/", "http://1.1.1.1/", "https://[::ffff:127.0.0.1]/", "https://a b/",
		"https://hooks_.exa%mple/",
		"https://" + strings.Repeat("a", 2100) + "/", "javascript:alert(1)", "//hooks.example/", "https://[fe80::1%25eth0]/"} {
		err := CheckPostURL(url, private)
		if err == nil {
			t.Errorf("%.60q is taken", url)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	if err := CheckPostURL("http://hooks.example/", nil); err == nil {
		t.Error("clear text is taken though no network may have it")
	}
	var p *PrivateError
	if err := CheckPostURL("https://10.0.0.5/", nil); !errors.As(err, &p) ||
		err.Error() != "10.0.0.5 is a private address; add its network to events.allow-private" {
		t.Error(err)
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "x": 0, "99999999999999": 0,
		"Mon, 30 Nov 2026 12:02:00 GMT": 2 * time.Minute, "Mon, 30 Nov 2026 11:00:00 GMT": 0} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func FuzzPostURL(f *testing.F) {
	for _, s := range []string{"https://hooks.example/", "http://10.0.0.5:1/", "https://[::1]/", "https://u@h/", "https://h:0/", "%",
		"https://\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if CheckPostURL(text, nil) != nil {
			return
		}
		if !strings.HasPrefix(strings.ToLower(text), "https://") {
			t.Errorf("%q is taken", text)
		}
	})
}
