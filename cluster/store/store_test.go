//go:build !nostore

package store

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"sipxrest/internal/await"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// alone is a store without peers, at a port that is free.
func alone(t *testing.T) Config {
	return Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), Sync: time.Minute, MaxMemory: 16 << 20, MaxDisk: 256 << 20}
}

func start(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// freePorts returns ports of loopback that nobody has.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// trio starts three stores that are peers.
func trio(t *testing.T, change func(i int, c *Config)) []*Server {
	t.Helper()
	ports := freePorts(t, 6)
	var peers []string
	for _, p := range ports[3:] {
		peers = append(peers, (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p}).String())
	}
	var all []*Server
	for i := range 3 {
		c := alone(t)
		c.Listen = (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: ports[i]}).String()
		c.RoutePort, c.Peers = ports[3+i], peers
		if change != nil {
			change(i, &c)
		}
		all = append(all, start(t, c))
	}
	for _, s := range all {
		await.Nil(t, s.Current)
	}
	return all
}

func TestAStoreThatIsAloneKeepsWhatItWasTold(t *testing.T) {
	c := alone(t)
	s := start(t, c)
	await.Nil(t, s.Current)
	js := connect(t, "nats://"+s.Addr())
	ctx := t.Context()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowAtomicPublish: true,
		AllowMsgTTL: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s.a", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	s.End()

	again := start(t, c)
	await.Nil(t, again.Current)
	js = connect(t, "nats://"+again.Addr())
	stream, err := js.Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(ctx, "s.a")
	if err != nil || string(m.Data) != "kept" {
		t.Fatalf("after a restart: %v, %v", m, err)
	}
}

func connect(t *testing.T, url string, o ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// A store that ends by a signal has another one lead first, so that writes go on without
// an election. Only then it leaves its clients.
func TestTheOthersGoOnWhenOneOfThreeEnds(t *testing.T) {
	all := trio(t, func(_ int, c *Config) { c.handOver = time.Hour })
	js := connect(t, "nats://"+all[0].Addr()+",nats://"+all[1].Addr()+",nats://"+all[2].Addr(), nats.MaxReconnects(-1),
		nats.ReconnectWait(10*time.Millisecond))
	ctx := t.Context()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	leader := all[slices.IndexFunc(all, func(s *Server) bool { return s.Name() == info.Cluster.Leader })]
	guest := connect(t, "nats://"+leader.Addr(), nats.NoReconnect())
	ended := make(chan struct{})
	go func() { defer close(ended); leader.End() }()
	others := slices.DeleteFunc(all, func(s *Server) bool { return s == leader })
	await.Nil(t, func() error {
		for _, s := range others {
			if s.nats.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "S") {
				return nil
			}
		}
		return errors.New("no other store leads the stream")
	})
	// Who is still connected with it goes on, until it is given to another store.
	for range 10 {
		await.Nil(t, func() error {
			select {
			case <-ended:
				t.Fatal("it has ended before its clients have gone")
			default:
			}
			_, err := guest.Publish(ctx, "s.a", nil, jetstream.WithRetryAttempts(0))
			return err
		})
	}
	leader.Kill() // the test does not wait until its client has gone
	<-ended
	await.Nil(t, func() error { _, err := js.Publish(ctx, "s.a", nil, jetstream.WithRetryAttempts(0)); return err })
}

func TestAStoreWantsThePassword(t *testing.T) {
	all := trio(t, func(_ int, c *Config) { c.User, c.Password = "node", "s3cret" })
	if _, err := nats.Connect("nats://" + all[0].Addr()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a password: %v", err)
	}
	connect(t, "nats://"+all[0].Addr(), nats.UserInfo("node", "s3cret"))
}

func TestAPortInUseIsSaid(t *testing.T) {
	s := start(t, alone(t))
	c := alone(t)
	c.Listen = s.Addr()
	if _, err := Start(c, quiet()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v", err)
	}
	c = alone(t)
	c.Health = s.Addr()
	if _, err := Start(c, quiet()); err == nil || !strings.Contains(err.Error(), "store.health") {
		t.Errorf("%v", err)
	}
}

func TestHealthSaysWhetherTheStreamsAreCurrent(t *testing.T) {
	c := alone(t)
	c.Health = "127.0.0.1:0"
	s := start(t, c)
	await.Nil(t, s.Current)
	if status, text := get(t, s.HealthAddr()); status != 200 || text != "ok\n" {
		t.Errorf("current: %d %q", status, text)
	}
	// A store whose peers have never answered has no quorum.
	lonely := alone(t)
	lonely.Health, lonely.RoutePort = "127.0.0.1:0", freePorts(t, 1)[0]
	lonely.Peers = []string{"127.0.0.1:1", "127.0.0.1:2"}
	s = start(t, lonely)
	if status, text := get(t, s.HealthAddr()); status != 503 || text == "" {
		t.Errorf("without its peers: %d %q", status, text)
	}
}

func get(t *testing.T, at string) (int, string) {
	t.Helper()
	res, err := http.Get("http://" + at + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// Run tells systemd when the streams are current, and ends with its context.
func TestRunServesUntilItsContextEnds(t *testing.T) {
	c := alone(t)
	var mu sync.Mutex
	var told []string
	ready := make(chan struct{})
	c.Notify = func(state string) {
		mu.Lock()
		defer mu.Unlock()
		if told = append(told, strings.SplitN(state, "\n", 2)[0]); len(told) == 1 {
			close(ready)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c, quiet()) }()
	<-ready
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told, " "); got != "READY=1 STOPPING=1" {
		t.Errorf("systemd was told %s", got)
	}
}

// What the server says goes to slog, and a fatal fault ends it with its words.
func TestTheServerSpeaksBySlog(t *testing.T) {
	var text strings.Builder
	fatal := make(chan error, 1)
	l := &logger{slog.New(slog.NewTextHandler(&text, nil)), fatal}
	l.Noticef("JetStream cluster new metadata leader: %s", "b")
	l.Noticef("Listening for nobody")
	l.Warnf("Plaintext passwords detected, use nkeys for nobody")
	l.Debugf("nobody reads %d", 1)
	l.Fatalf("no disk")
	l.Fatalf("nor memory") // must not wait
	if err := <-fatal; err.Error() != "store: no disk" {
		t.Error(err)
	}
	for _, want := range []string{`level=INFO msg=store says="JetStream cluster new metadata leader: b"`,
		`level=ERROR msg=store says="no disk"`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%s\nlacks %s", text.String(), want)
		}
	}
	if strings.Contains(text.String(), "nobody") {
		t.Error("debug lines are shown at info")
	}
}

func TestCredentialsAreOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"node:s3:cret\n":                "node/s3:cret",
		"# the store\n\n  a:b  \nc:d\n": "a/b",
		"":                              "empty",
		"# only\n":                      "empty",
		"node\n":                        "expected",
		":x\n":                          "expected",
	} {
		user, password, err := ParseCredentials(text)
		got := user + "/" + password
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, not %s", text, got, want)
		}
		if err != nil && strings.Contains(err.Error(), "node") {
			t.Errorf("%q: the error quotes the text: %v", text, err)
		}
	}
}

func TestAPeerWithoutAPortHasTheOneOfAll(t *testing.T) {
	c := Config{Listen: "10.0.0.5:4222"}
	for peer, want := range map[string]string{"10.0.0.6": "10.0.0.6:6222", "10.0.0.6:7000": "10.0.0.6:7000", "store-b": "store-b:6222",
		"2001:db8::6": "[2001:db8::6]:6222", "[2001:db8::6]": "[2001:db8::6]:6222", "[2001:db8::6]:7000": "[2001:db8::6]:7000"} {
		if got := c.route(peer); got != want {
			t.Errorf("%s: %s, not %s", peer, got, want)
		}
	}
	c.RoutePort = 7001
	if got := c.route("10.0.0.6"); got != "10.0.0.6:7001" {
		t.Error(got)
	}
}

func TestAFolderThatCannotBeMadeIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := alone(t)
	c.Dir = filepath.Join(file, "store")
	if _, err := Start(c, quiet()); err == nil || !strings.HasPrefix(err.Error(), "store.dir: ") {
		t.Error(err)
	}
}
