package natsengine

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/store"
	"sipxrest/internal/await"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// stores starts so many stores, as one cluster.
func stores(t testing.TB, n int) []*store.Server {
	t.Helper()
	var sockets []net.Listener
	at := func(i int) string { return sockets[i].Addr().String() }
	for range 2 * n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, l)
	}
	var configs []store.Config
	for i := range n {
		c := store.Config{Listen: at(i), Dir: t.TempDir(), Sync: time.Minute, MaxMemory: 64 << 20, MaxDisk: 1 << 30}
		if n > 1 {
			c.RoutePort = sockets[n+i].Addr().(*net.TCPAddr).Port
			for j := range n {
				c.Peers = append(c.Peers, at(n+j))
			}
		}
		configs = append(configs, c)
	}
	for _, l := range sockets {
		l.Close()
	}
	var all []*store.Server
	for _, c := range configs {
		s, err := store.Start(c, quiet())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Kill)
		all = append(all, s)
	}
	for _, s := range all {
		await.Nil(t, s.Current)
	}
	return all
}

func urls(all []*store.Server) (list []string) {
	for _, s := range all {
		list = append(list, "nats://"+s.Addr())
	}
	return list
}

// open returns an engine that is connected.
func open(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	await.Nil(t, func() error {
		if e.Connected() == "" {
			return ErrAway
		}
		return nil
	})
	return e
}

// ensure makes a stream of the test's, and returns once a server leads it.
func ensure(t testing.TB, e *Engine, name string) (leader string) {
	t.Helper()
	await.Nil(t, func() error {
		if err := e.Ensure(t.Context(), cluster.Stream{Name: name, Subjects: []string{name + ".>"}, MaxAge: time.Hour}); err != nil {
			return err
		}
		info, err := e.info(t.Context(), name, nil)
		if err != nil || info.Cluster == nil { // a store that is alone
			return err
		}
		if leader = info.Cluster.Leader; leader == "" {
			return fmt.Errorf("stream %s has no leader", name)
		}
		return nil
	})
	return leader
}

// both runs a test with one store and with three.
func both(t *testing.T, test func(t *testing.T, e *Engine)) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n, " stores"), func(t *testing.T) { test(t, open(t, Config{Servers: urls(stores(t, n))})) })
	}
}

func write(subject, data string) cluster.Write {
	return cluster.Write{Subject: subject, Data: []byte(data)}
}
