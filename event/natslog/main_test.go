package natslog

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sipxrest/cluster/natsengine"
	"sipxrest/cluster/store"
	"sipxrest/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// startStores starts so many stores, as one cluster.
func startStores(t testing.TB, n int) (all []*store.Server) {
	t.Helper()
	var sockets []net.Listener
	for range 2 * n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, l)
	}
	var configs []store.Config
	for i := range n {
		c := store.Config{Listen: sockets[i].Addr().String(), Dir: t.TempDir(), Sync: time.Minute, MaxMemory: 64 << 20, MaxDisk: 1 << 30}
		if n > 1 {
			c.RoutePort = sockets[n+i].Addr().(*net.TCPAddr).Port
			for j := range n {
				c.Peers = append(c.Peers, sockets[n+j].Addr().String())
			}
		}
		configs = append(configs, c)
	}
	for _, l := range sockets {
		l.Close()
	}
	for _, c := range configs {
		s, err := store.Start(c, quiet())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Kill)
		all = append(all, s)
	}
	for _, s := range all {
		await(t, "the store", func() bool { return s.Current() == nil })
	}
	return all
}

// await waits until f reports true.
func await(t testing.TB, what string, f func() bool) {
	t.Helper()
	limit := time.After(60 * time.Second)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !f() {
		select {
		case <-limit:
			t.Fatalf("%s is not there within a minute", what)
		case <-look.C:
		}
	}
}

// engine is a connection of a node of its own.
func engine(t testing.TB, all []*store.Server) *natsengine.Engine {
	t.Helper()
	var urls []string
	for _, s := range all {
		urls = append(urls, "nats://"+s.Addr())
	}
	e, err := natsengine.New(natsengine.Config{Servers: urls}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	await(t, "a connection", func() bool { return e.Connected() != "" })
	return e
}

// A node is one of the cluster "t".
type node struct {
	*event.Bus
	log  *Log
	name string
	stop func()
}

func startNode(t testing.TB, all []*store.Server, name, file string) *node {
	t.Helper()
	return startNodeOf(t, all, name, file, nil)
}

func startNodeOf(t testing.TB, all []*store.Server, name, file string, alive func() []string) *node {
	t.Helper()
	e := engine(t, all)
	n := &node{name: name, log: New(e, Config{Cluster: "t", Keep: time.Hour})}
	b, err := event.Open(event.Config{Store: file, Stream: n.log, Node: name, Nodes: alive, Strict: true}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	n.Bus = b
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stopped := false
	n.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("node %s: %v", name, err)
			}
			b.Close()
		}
	}
	t.Cleanup(n.stop)
	return n
}
