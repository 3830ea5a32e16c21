package natsengine

import (
	"strings"
	"testing"

	"sipxrest/cluster"
)

// A caller chooses what his name is, and how much he says. The longest name with the
// largest state that is kept must fit into the store: what does not would be written
// again and again, and no other call be kept meanwhile.
func TestTheLargestStateWithTheLongestKeysIsStored(t *testing.T) {
	servers := urls(stores(t, 1))
	a, b := startNode(t, "a", servers), startNode(t, "b", servers)
	long := func(c string) string { return strings.Repeat(c, 60<<10) }
	large := make([]byte, cluster.MaxState)
	large[0] = cluster.ClassTalking
	if err := a.Claim(t.Context(), long("a"), "call_large", large); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"b", "\xff", "\x01", "d", "e", "f"} {
		a.Move("call_large", "", long(c), large)
	}
	<-a.Keep("call_large", large)
	if err := a.Claim(t.Context(), "key", "call_small", []byte{cluster.ClassTalking}); err != nil {
		t.Errorf("another call of the node: %v", err)
	}
	if err := a.Flushed(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"\xff", "\x01", "f"} {
		if p, err := b.Find(t.Context(), long(c)); err != nil || p.ID != "call_large" || p.Node != "a" {
			t.Errorf("by the key of %q: %+v, %v", c, p, err)
		}
	}
	if s := a.Stats(); len(s.TickFailures) > 0 {
		t.Errorf("ticks failed: %v", s.TickFailures)
	}
	_ = a.e.Close() // the process dies
	a.stop()
	await(t, func() error {
		if b.count() < 2 {
			return ErrAway
		}
		return nil
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := b.taken["call_large"]; len(got.State) != len(large) {
		t.Errorf("%d bytes are taken over", len(got.State))
	}
}
