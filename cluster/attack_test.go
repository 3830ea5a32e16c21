package cluster_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/fakeengine"
)

// evil is somebody who may say and write what he likes, wherever nodes do.
type evil struct {
	t *testing.T
	*fakeengine.Engine
}

func (r *rig) evil() *evil {
	e := r.store.Node("evil")
	r.t.Cleanup(func() { _ = e.Close() })
	return &evil{r.t, e}
}

// says are the ways to a node a, of which incarnation is e.
func (x *evil) says(way byte, e string, data []byte) {
	ctx, cancel := context.WithTimeout(x.t.Context(), 20*time.Second)
	defer cancel()
	commit := func(stream, subject string) {
		_, _ = x.Commit(ctx, stream, []cluster.Write{{Subject: subject, Data: data}})
	}
	asks := func(op string) {
		_, _ = x.Ask(ctx, "sipxrest.ask.a", append(binary.BigEndian.AppendUint32(append([]byte{byte(len(op))}, op...), 9000), data...))
	}
	switch way % 13 {
	case 0:
		_ = x.Tell("sipxrest.node.z", data)
	case 1:
		_ = x.Tell("sipxrest.c.z.0.fence", data)
	case 2:
		_ = x.Tell("sipxrest.gossip.users", data)
	case 3:
		_ = x.Tell("sipxrest.gossip.users", append([]byte("\x01z\x02e1"), data...))
	case 4:
		_, _ = x.Ask(ctx, "sipxrest.ask.a", data)
	case 5:
		asks("cluster.adopt")
	case 6:
		asks("fail")
	case 7:
		commit("sipxrest_NODES", "sipxrest.node.z")
	case 8:
		commit("sipxrest_NODES", "sipxrest.dead.z.e1")
	case 9:
		commit("sipxrest_NODES", "sipxrest.secret")
	case 10:
		commit("sipxrest_KEYS", "sipxrest.key.mark")
	case 11:
		commit("sipxrest_KEYS", "sipxrest.id.call_z")
	case 12: // a call of a node that is fenced then
		s := cluster.Stream{Name: "sipxrest_N_z_e1", Subjects: []string{"sipxrest.c.z.e1.>"}, MaxAge: time.Hour}
		if x.Ensure(ctx, s) == nil {
			_ = x.Put(s.Name, "sipxrest.c.z.e1.s.call_z", data)
			fence := fmt.Appendf(nil, `{"node":"z","e":"e1","by":"z","why":"x","heirs":[{"node":"a","e":%q}]}`, e)
			_, _ = x.Commit(ctx, s.Name, []cluster.Write{{Subject: "sipxrest.c.z.e1.fence", Data: fence}})
		}
	}
}

// FuzzOtherNodes has a node hear, be asked and read whatever there may be. It goes on, and so do its calls.
func FuzzOtherNodes(f *testing.F) {
	adopt := binary.BigEndian.AppendUint64(nil, 1)
	for _, s := range []string{"z", "e1", "e2", "call_z"} {
		adopt = append(binary.BigEndian.AppendUint16(adopt, uint16(len(s))), s...)
	}
	stored := "\x01\x00\x00\x00\x01\x01\x03key\x00state"
	for way := range byte(13) {
		for _, data := range []string{"", "null", "{}", "[]", "\xff", `{"node":"z","e":"e1","state":"live","beat":1,"number":-1}`,
			`{"node":"z","e":"a.>\r\n","state":"live"}`, `{"node":"` + strings.Repeat("z", 5000) + `","e":"e1","state":"live"}`,
			`{"node":"z","e":"e1","by":"y","heirs":[{}]}`, `{"node":"z","e":"e1","by":"y","heirs":[{"node":"y","e":"e9"}]}`,
			`{"node":"z","e":"e1","id":"call_z","keys":["x"],"over":true}`, `{"keys":["AAAA"],"made":9223372036854775807}`,
			"\x00\x00\x05alice\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x01\x00\x05alice\x06", stored, string(adopt) + stored,
			"\x01\x00\x00\x00\x01\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
			f.Add(way, []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, way byte, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			r := &rig{t: t, store: fakeengine.New(1)}
			defer r.stop()
			var counts *cluster.Counts
			a := r.prepare("a", func(n *node) {
				counts = n.Counts("users")
				n.Answer("fail", func(_ context.Context, data []byte) ([]byte, error) { panic(string(data)) })
			})
			r.settle()
			a.place("key", "call_1")
			before := a.Incarnation()
			r.evil().says(way, before, data)
			time.Sleep(12 * time.Second)
			if _, err := a.Ask(t.Context(), "a", "none", nil); err == nil || errors.Is(err, cluster.ErrBusy) {
				t.Errorf("it does not answer: %v", err)
			}
			if err := a.claim("key 2", "call_2"); err != nil {
				t.Errorf("no call can be placed: %v", err)
			}
			if p := a.find("key"); !p.Mine || !p.Live || a.Incarnation() != before {
				t.Errorf("its call is %+v", p)
			}
			if n := counts.Others("alice"); n < 0 || n > math.MaxInt32+1 {
				t.Errorf("others have %d calls of a user", n)
			}
		})
	})
}

// Counts that another node may tell are no less than none, do not overflow, and are so many in all.
func TestForgedCountsAreBounded(t *testing.T) {
	var counts *cluster.Counts
	prepared(t, "a", func(n *node) { counts = n.Counts("users") }, func(t *testing.T, r *rig) {
		x := r.evil()
		tell := func(node string, pairs ...any) {
			msg := append([]byte{byte(len(node))}, node...)
			msg = append(msg, 2, 'e', '1', 0)
			for i := 0; i < len(pairs); i += 2 {
				name := pairs[i].(string)
				msg = append(binary.BigEndian.AppendUint16(msg, uint16(len(name))), name...)
				msg = binary.AppendVarint(msg, pairs[i+1].(int64))
			}
			_ = x.Tell("sipxrest.gossip.users", msg)
		}
		tell("x", "alice", int64(5))
		tell("y", "alice", int64(-100))
		tell("z", "bob", int64(math.MaxInt64), strings.Repeat("n", 300), int64(1))
		tell("w", "bob", int64(math.MaxInt64))
		synctest.Wait()
		if n := counts.Others("alice"); n != 5 {
			t.Errorf("alice has %d calls elsewhere, not 5: a limit can be lifted", n)
		}
		if n := counts.Others("bob"); n < math.MaxInt32 {
			t.Errorf("bob has %d calls elsewhere: the sum has overflown", n)
		}
		if n := counts.Others(strings.Repeat("n", 300)); n != 0 {
			t.Error("a name of 300 bytes is kept")
		}
		for i := range 40 {
			var pairs []any
			for j := range 10_000 {
				pairs = append(pairs, fmt.Sprint("u", i, "-", j), int64(1))
			}
			tell(fmt.Sprint("n", i), pairs...)
		}
		synctest.Wait()
		known := 0
		for i := range 40 {
			for j := range 10_000 {
				known += int(counts.Others(fmt.Sprint("u", i, "-", j)))
			}
		}
		if known < 16*16_384-10 || known > 16*16_384 {
			t.Errorf("%d names are kept", known)
		}
	})
}

// Questions that wait do not keep out those of other kinds, nor do those that fail.
func TestQuestionsThatWaitKeepNoOthersOut(t *testing.T) {
	answer := func(n *node) {
		n.Answer("slow", func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() })
		n.Answer("echo", func(_ context.Context, data []byte) ([]byte, error) { return data, nil })
		n.Answer("fail", func(context.Context, []byte) ([]byte, error) { panic("a fault") })
	}
	prepared(t, "a b", answer, func(t *testing.T, r *rig) {
		a, b := r.get("a"), r.get("b")
		for range 300 {
			go a.Ask(t.Context(), "b", "slow", nil) //nolint:errcheck // it only takes a place
		}
		synctest.Wait()
		if out, err := a.Ask(t.Context(), "b", "echo", []byte("x")); err != nil || string(out) != "x" {
			t.Errorf("another question: %q, %v", out, err)
		}
		b.place("key", "call_1")
		if to, err := b.handOver(t.Context(), "call_1", "state"); err != nil || to != "a" {
			t.Errorf("handed over to %q, %v", to, err)
		}
		failed := (*cluster.AskError)(nil)
		for range 300 {
			if _, err := a.Ask(t.Context(), "b", "fail", nil); !errors.As(err, &failed) || failed.Text != "internal fault" {
				t.Fatalf("a question at which it fails: %v", err)
			}
		}
		_, err := a.Ask(t.Context(), strings.Repeat("b", 4096), "echo", nil)
		wants(t, err, cluster.ErrNobody)
		time.Sleep(5 * time.Second)
	})
}

// A state at which a node fails costs that call, and no node.
func TestACallThatCannotBeTakenOverCostsNoNode(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		bad := r.start("c", func(c *cluster.Config) {
			c.Adopt = func(context.Context, cluster.Taken, func(string, error)) { panic("a state") }
		})
		r.settle()
		a := r.get("a")
		ids := a.places("x", 20)
		r.get("b").stop()
		a.kill()
		time.Sleep(20 * time.Second)
		lost := 0
		for key, n := range bad.Stats().Takeovers {
			if key.Result == "lost" {
				lost += int(n)
			}
		}
		if lost != len(ids) {
			t.Errorf("%d calls are lost, of %d", lost, len(ids))
		}
		if err := bad.claim("key of another", "call_z"); err != nil {
			t.Error(err)
		}
	})
}
