package natsengine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sipxrest/cluster"
	"sipxrest/cluster/store"
)

func TestAProbeTriesWhatANodeDoes(t *testing.T) {
	all := stores(t, 3)
	all[2].Kill()
	cfg := Config{Servers: urls(all)}
	var got Tried
	await(t, func() error { // without an answer while they choose who leads them
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

func TestVersionsAreCompared(t *testing.T) {
	for version, want := range map[string]bool{"2.11.9": true, "2.12.0": false, "2.12": false, "2.15.3": false, "3.0.0": false, "1.99": true,
		"2.12.0-beta.1": false, "": true} {
		if older(version, OldestVersion) != want {
			t.Errorf("%q is older than %s: not %v", version, OldestVersion, want)
		}
	}
}
