package natsengine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/store"
	"sipxrest/internal/await"
)

func TestAProbeTriesWhatANodeDoes(t *testing.T) {
	all := stores(t, 3)
	all[2].Kill()
	cfg := Config{Servers: urls(all)}
	var got Tried
	await.Nil(t, func() error { // without an answer while they choose who leads them
		got = Probe(t.Context(), cfg, "x", 0)
		if errors.Is(got.Err, context.DeadlineExceeded) {
			return got.Err
		}
		return nil
	})
	if got.Err == nil || !strings.Contains(got.Err.Error(), "3 replicas") {
		// Two of three can make a stream of three once one is known to be gone, or not.
		if got.Err != nil || got.Replicas != 3 {
			t.Errorf("with two of three: %+v", got)
		}
	}
	if len(got.Servers) != 3 || got.Servers[0].Err != nil || got.Servers[1].Err != nil || got.Servers[2].Err == nil {
		t.Errorf("%+v", got.Servers)
	}
	e := open(t, cfg)
	if _, err := e.Last(t.Context(), "x_CHECK", "x"); !errors.Is(err, cluster.ErrNoStream) {
		t.Errorf("the stream of the probe is left: %v", err)
	}
}

func TestAProbeOfAStoreThatIsAlone(t *testing.T) {
	s := start(t, store.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	got := Probe(t.Context(), Config{Servers: []string{"nats://" + s.Addr()}}, "x", 0)
	if got.Err != nil || got.Replicas != 1 || got.Commit <= 0 || got.Servers[0].Version == "" || got.MaxStorage <= 0 && got.MaxStorage != -1 {
		t.Errorf("%+v", got)
	}
	if got := Probe(t.Context(), Config{Servers: []string{"nats://" + s.Addr()}}, "x", 3); got.Err == nil ||
		!strings.Contains(got.Err.Error(), "a stream with 3 replicas cannot be made") {
		t.Errorf("%+v", got)
	}
	s.Kill()
	if got := Probe(t.Context(), Config{Servers: []string{"nats://" + s.Addr()}}, "x", 0); !errors.Is(got.Err, ErrAway) ||
		got.Servers[0].Err == nil {
		t.Errorf("%+v", got)
	}
}

// What is wrong is said, and what to do about it.
func TestAProbeSaysWhatToDo(t *testing.T) {
	locked := start(t, store.Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), User: "node", Password: "s3cret"})
	file := filepath.Join(t.TempDir(), "creds")
	if err := os.WriteFile(file, []byte("node:wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]Config{
		"name the file with it in cluster.credentials": {Servers: []string{"nats://" + locked.Addr()}},
		"which are those of store.credentials":         {Servers: []string{"nats://" + locked.Addr()}, Credentials: file},
		"the server has no TLS: set store.tls":         {Servers: []string{"tls://" + locked.Addr()}},
	} {
		got := Probe(t.Context(), cfg, "x", 0)
		if !errors.Is(got.Err, ErrRefused) || got.Servers[0].Err == nil || !strings.Contains(got.Servers[0].Err.Error(), want) {
			t.Errorf("%+v\nnot %s", got, want)
		}
	}
	all := stores(t, 3)
	got := Probe(t.Context(), Config{Servers: []string{"nats://" + all[0].RouteAddr()}}, "x", 0)
	if got.Servers[0].Err == nil || !strings.Contains(got.Servers[0].Err.Error(), "write the port of store.listen") {
		t.Errorf("%+v", got)
	}
	await.Nil(t, func() error { // without an answer while they choose who leads them
		got := Probe(t.Context(), Config{Servers: urls(all)}, "x", 5)
		const want = "so many stores must run and have found each other by store.peers; cluster.nats names 3"
		if got.Err == nil || !strings.Contains(got.Err.Error(), want) {
			return fmt.Errorf("five replicas of three stores: %w", got.Err)
		}
		return nil
	})
	all[1].Kill()
	all[2].Kill()
	await.Nil(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := Probe(ctx, Config{Servers: urls(all)[:1]}, "x", 0)
		if got.Err == nil || !strings.Contains(got.Err.Error(), "most of the stores must run and reach each other by store.peers") {
			return fmt.Errorf("one store of three: %w", got.Err)
		}
		return nil
	})
}

func TestVersionsAreCompared(t *testing.T) {
	for version, want := range map[string]bool{"2.11.9": true, "2.12.0": false, "2.12": false, "2.15.3": false, "3.0.0": false, "1.99": true,
		"2.12.0-beta.1": false, "": true} {
		if older(version, OldestVersion) != want {
			t.Errorf("%q is older than %s: not %v", version, OldestVersion, want)
		}
	}
}
