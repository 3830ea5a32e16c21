package natsengine

import (
	"fmt"
	"strings"
	"testing"

	"sipxrest/cluster"
	"sipxrest/internal/await"
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
	_ = a.e.Close() // the process dies
	a.stop()
	await.Nil(t, func() error {
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

// Names of users become parts of subjects, and no subject has a meaning that a name gave it.
func TestAnythingMayBeAKey(t *testing.T) {
	servers := urls(stores(t, 1))
	a, b := startNode(t, "a.b", servers), startNode(t, "* >", servers)
	names := []string{"a.b", "*", ">", "a.>", " ", "\r\n", "PUB x 0\r\n\r\n", "\x00", "\xff\xfe", "\xfe", "é", "=2A", "=", "..", "mark",
		strings.Repeat("ü", 150)}
	id := func(name string) string { return "call " + strings.ToValidUTF8(name, fmt.Sprint(len(name))) } // those are ours
	for i, name := range names {
		if err := a.Claim(t.Context(), name, id(name), []byte{cluster.ClassTalking, byte(i)}); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	if err := a.Flushed(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		byKey, err := b.Find(t.Context(), name)
		byID, err2 := b.FindID(t.Context(), id(name))
		if err != nil || err2 != nil || byKey.ID != id(name) || byID.Node != "a.b" {
			t.Errorf("%q: %+v, %v; %+v, %v", name, byKey, err, byID, err2)
		}
	}
	_ = a.e.Close() // the process dies
	a.stop()
	await.Nil(t, func() error {
		if n := b.count(); n < len(names) {
			return fmt.Errorf("%d of %d calls are taken over", n, len(names))
		}
		return nil
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, name := range names {
		if got := b.taken[id(name)]; len(got.State) != 2 || got.State[1] != byte(i) || got.Key == "" {
			t.Errorf("%q is taken over as %+v", name, got)
		}
	}
}

// A message at which a node fails costs that message.
func TestAMessageAtWhichANodeFailsCostsThatMessage(t *testing.T) {
	e := open(t, Config{Servers: urls(stores(t, 1))})
	heard := make(chan string, 10)
	stop := e.Watch("x.*", func(_ string, data []byte) {
		if len(data) == 0 {
			panic("a message")
		}
		heard <- string(data)
	})
	defer stop()
	e.Answer("y", func(data []byte, reply func([]byte)) { reply(data[:1]) })
	await.Nil(t, func() error {
		_, err := e.Ask(t.Context(), "y", []byte("z"))
		return err
	})
	for _, data := range []string{"", "", "after"} {
		if err := e.Tell("x.1", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-heard; got != "after" {
		t.Errorf("heard %q", got)
	}
	if err := e.sent(e.nc.PublishRequest("y", e.nc.NewInbox(), nil)); err != nil { // too short for its answer
		t.Fatal(err)
	}
	if got, err := e.Ask(t.Context(), "y", []byte("z")); err != nil || string(got) != "z" {
		t.Errorf("%q, %v", got, err)
	}
}
