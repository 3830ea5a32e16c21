package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A wanderer tells of one call what may happen to it, at random, and what may not: what
// sipflow tells twice or late is told here, too.
type wanderer struct {
	rand  *rand.Rand
	bus   *Bus
	id    string
	legs  []LegState
	state State
	moves int // transfers so far
	over  bool
}

func (w *wanderer) step() {
	if w.over {
		return
	}
	leg := w.rand.IntN(len(w.legs))
	id := legID(leg + 1)
	tell := func(t Type, leg string, c Change) { w.bus.Tell(w.id, t, leg, c) }
	switch n := w.rand.IntN(20); {
	case n < 8:
		next := map[LegState]struct {
			to LegState
			t  Type
		}{LegPending: {LegDialing, LegDialled}, LegDialing: {LegRinging, LegRang}, LegRinging: {LegAnswered, LegPickedUp}}[w.legs[leg]]
		if next.t != "" {
			w.legs[leg] = next.to
			tell(next.t, id, Change{SIPCallID: w.id + id, Hop: "udp:192.0.2.10:5060", Contact: "sip:" + id + "@192.0.2.77"})
		}
	case n < 10:
		if w.state == Calling {
			w.state = Connecting
			tell(CallConnecting, "", Change{})
		} else if w.state == Connecting {
			w.state = Connected
			tell(CallConnected, "", Change{})
		}
	case n < 12 && w.legs[leg] == LegAnswered:
		tell([]Type{LegHeld, LegResumed, LegMuted, LegUnmuted}[w.rand.IntN(4)], id, Change{By: "client"})
	case n < 13:
		tell(CallUpdated, "", Change{Tags: map[string]string{"n": fmt.Sprint(w.rand.IntN(9))}, Metadata: json.RawMessage(`{ "html": "<b>&" }`)})
	case n < 15 && w.state == Connected:
		w.transfer(tell)
	case n < 16 && w.legs[leg] != LegEnded && w.legs[leg] != LegPending:
		w.legs[leg] = LegEnded
		tell(LegOver, id, Change{LegEnd: &LegEnd{Reason: "busy", SIP: &Status{Code: 486, Reason: "Busy Here", Method: "INVITE"}}})
	case n == 19 && w.rand.IntN(3) == 0:
		w.over = true
		all := []string{"hung_up", "client_hung_up", "busy", "no_answer", "draining", "phone_lost"}
		tell(CallEnded, "", Change{End: &End{Reason: all[w.rand.IntN(len(all))], Leg: id}})
		for range w.rand.IntN(3) { // ends that lost the race
			tell(CallEnded, "", Change{End: &End{Reason: "hung_up"}})
			tell(LegRang, "l1", Change{})
		}
	}
}

func (w *wanderer) transfer(tell func(Type, string, Change)) {
	t := Transfer{ID: fmt.Sprintf("t%d", (w.moves+3)/3), Mode: "blind", Leaver: "calling", To: "203@example.com"}
	switch w.moves % 3 {
	case 0:
		t.State = "dialing"
		tell(TransferStarted, "", Change{Transfer: &t})
	case 1:
		t.State = "ringing"
		tell(TransferRinging, "", Change{Transfer: &t})
	case 2:
		t.State = "failed"
		t.End = &TransferEnd{Reason: "busy", Message: "203 is busy."}
		tell(TransferFailed, "", Change{Transfer: &t})
	}
	w.moves++
}

// wander has calls happen at random until all are over.
func wander(t testing.TB, b *Bus, r *rand.Rand, prefix string, calls int, between func()) (ids []string) {
	t.Helper()
	var list []*wanderer
	for i := range calls {
		id := fmt.Sprintf("%s-%d", prefix, i)
		ids = append(ids, id)
		req := request(id)
		req.Created.Source = FromCallController // which no slow disk refuses
		req.Created.Agent = fmt.Sprintf("%d@example.com", 200+i%7)
		if err := b.Begin(req); err != nil {
			t.Fatal(err)
		}
		list = append(list, &wanderer{rand: r, bus: b, id: id, legs: []LegState{LegPending, LegPending}, state: Calling})
	}
	for len(list) > 0 {
		list[r.IntN(len(list))].step()
		list = slices.DeleteFunc(list, func(w *wanderer) bool { return w.over })
		if between != nil {
			between()
		}
	}
	return ids
}

// sound reports what is wrong with the events of one call.
func sound(t testing.TB, list []*Event) {
	t.Helper()
	ended := map[string]bool{}
	for i, e := range list {
		if e.CallSeq != int64(i+1) || e.Final != (i == len(list)-1) || e.Final != (e.Type == CallEnded) {
			t.Fatalf("event %d of %d: %s, call_seq %d, final %t", i+1, len(list), e.Type, e.CallSeq, e.Final)
		}
		switch {
		case e.Type == LegOver && ended[e.Data.Leg]:
			t.Fatalf("leg %s ends twice", e.Data.Leg)
		case e.Type == LegOver:
			ended[e.Data.Leg] = true
		case e.Final && len(ended) != len(e.Data.Call.Legs):
			t.Fatalf("%d of %d legs have ended before the call", len(ended), len(e.Data.Call.Legs))
		}
	}
}

// all reads everything behind a cursor.
func all(t testing.TB, b *Bus, f Filter, from Cursor) (list []*Event) {
	t.Helper()
	for {
		page, next, err := b.Events(f, from, 0)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, page...)
		if next == from {
			return list
		}
		from = next
	}
}

// texts are events as JSON.
func texts(b *Bus, list []*Event) (lines []string) {
	for _, e := range list {
		lines = append(lines, string(b.Encoded(e)))
	}
	return lines
}

// Whatever happens to calls, each has one end, which is its last event and comes after
// those of its legs; and there is a record of each.
func TestCallsAtRandomEndOnce(t *testing.T) {
	bothStores(t, func(t *testing.T, cfg Config) {
		b := startBus(t, cfg)
		r := rand.New(rand.NewPCG(1, 2))
		calls := 3000
		calls /= share(10)
		from := b.Head()
		for round := range calls / 100 {
			ids := wander(t, b, r, fmt.Sprint("r", round), 100, nil)
			settle(b)
			for _, id := range ids {
				list, err := b.CallEvents(id, 0, 0)
				if err != nil || len(list) == 0 {
					t.Fatal(id, len(list), err)
				}
				sound(t, list)
			}
		}
		for i, e := range all(t, b, Filter{}, from) {
			if e.Seq != from.Seq+int64(i)+1 {
				t.Fatalf("event %d has the number %d", i, e.Seq)
			}
		}
		if n := records(t, b); n != calls {
			t.Errorf("%d records of %d calls", n, calls)
		}
		if s := b.Stats(); s.Refused != 0 || s.Calls != 0 || s.Unstored != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func records(t testing.TB, b *Bus) (n int) {
	t.Helper()
	switch log := b.store.(type) {
	case *memoryLog:
		return len(log.cdrs)
	case *sqliteLog:
		if err := log.read.QueryRow(`SELECT count(*) FROM cdrs`).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// Each snapshot that was sent is the fold of the changes up to it, byte for byte, as it
// is made anew from what is kept.
func TestSnapshotsMadeAnewAreThoseThatWereSent(t *testing.T) {
	bothStores(t, func(t *testing.T, cfg Config) {
		b := startBus(t, cfg)
		from := b.Head()
		ids := wander(t, b, rand.New(rand.NewPCG(3, 4)), "call", 40, nil)
		settle(b)
		for _, e := range all(t, b, Filter{}, from) {
			var c *Call
			sent, _ := json.Marshal(e.Data.Call)
			list, err := b.store.ReadCall(*e.Data.CallID, 0, int(e.CallSeq))
			if err != nil {
				t.Fatal(err)
			}
			for _, stored := range list {
				text, _ := json.Marshal(stored.Data.Change)
				again := &Event{Type: stored.Type, Timestamp: stored.Timestamp, CallSeq: stored.CallSeq,
					Data: Data{CallID: stored.Data.CallID, Leg: stored.Data.Leg, Change: &Change{}}}
				if err := json.Unmarshal(text, again.Data.Change); err != nil {
					t.Fatal(err)
				}
				if c, err = Apply(c, again); err != nil {
					t.Fatal(err)
				}
			}
			if made, _ := json.Marshal(c); !bytes.Equal(made, sent) {
				t.Fatalf("event %d of %s: made anew\n%s\nsent\n%s", e.CallSeq, *e.Data.CallID, made, sent)
			}
		}
		// And from any number on.
		for _, id := range ids[:20] {
			whole, _ := b.CallEvents(id, 0, 0)
			for n := range whole {
				rest, err := b.CallEvents(id, int64(n), 0)
				if err != nil || !slices.Equal(texts(b, rest), texts(b, whole[n:])) {
					t.Fatalf("after %d of %s: %v", n, id, err)
				}
			}
		}
	})
}

// waitKept waits, in real time, until all that was told is kept.
func waitKept(b *Bus) {
	s := b.Subscribe(Filter{Stored: true})
	defer s.Close()
	for b.queued.Load() > 0 || b.stored.Load() < b.sequenced.Load() {
		select {
		case <-s.Wake():
		case <-time.After(time.Millisecond): // the queue may be empty before the last one has its number
		}
	}
}

// replica makes a copy of a store as a crash would have left it.
func replica(t testing.TB, cfg Config) Config {
	t.Helper()
	to := filepath.Join(t.TempDir(), "events.db")
	for _, end := range []string{"", "-wal"} { // the index of the log is made anew
		text, err := os.ReadFile(cfg.Store + end)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+end, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Store = to
	return cfg
}

// After a crash nothing that readers have seen is lost; calls that were open end once,
// and cursors of the former run go on with the first event of the next one.
func TestACrashEndsOpenCallsOnce(t *testing.T) {
	cfg := Config{Store: filepath.Join(t.TempDir(), "events.db")}
	b := startBus(t, cfg)
	r := rand.New(rand.NewPCG(5, 6))
	from := b.Head()
	for round := range 12 / share(2) {
		prefix := fmt.Sprint("r", round)
		steps := 0
		wander(t, b, r, prefix, 20, func() { steps++ })
		open := prefix + "-open"
		req := request(open)
		req.Created.Source = FromCallController
		if err := b.Begin(req); err != nil {
			t.Fatal(err)
		}
		for i := range round % 5 {
			b.Tell(open, []Type{LegDialled, LegRang, LegPickedUp, CallConnecting}[i], []string{"l1", "l1", "l1", ""}[i], Change{})
		}
		waitKept(b)
		seen := texts(b, all(t, b, Filter{}, from))
		head := b.Head()
		b2 := startBus(t, replica(t, cfg))
		again := all(t, b2, Filter{}, from)
		if len(again) < len(seen) || !slices.Equal(texts(b2, again[:len(seen)]), seen) {
			t.Fatalf("round %d: %d events were seen, of %d after the crash not all are the same", round, len(seen), len(again))
		}
		for i := range 2 {
			beyond := head
			beyond.Seq += int64(i) * 1000 // streams had been ahead of the log
			next := all(t, b2, Filter{}, beyond)
			if i == 1 && (len(next) == 0 || next[0].ID != b2.cursor((*b2.runs.Load())[len(*b2.runs.Load())-1].First).String()) {
				t.Fatalf("after %s comes %v", beyond, types(next))
			}
		}
		list, err := b2.CallEvents(open, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		sound(t, list)
		end := list[len(list)-1].Data.Call
		if end.End.Reason != "service_restarted" || end.End.Dialled != "unknown" || end.Knowledge.Level != "lost" || end.TalkMS != nil {
			t.Errorf("%+v %+v", end.End, end.Knowledge)
		}
		b3 := startBus(t, replica(t, b2.cfg))
		if list, _ := b3.CallEvents(open, 0, 0); !list[len(list)-1].Final || len(list) != len(texts(b2, list)) {
			t.Error("the call ends again")
		}
		if n := records(t, b3); n != (round+1)*20+round+1 {
			// Calls that were open in former rounds are open still, and end in each copy.
			t.Errorf("round %d: %d records", round, n)
		}
	}
}

// Cursors of another store, and of a run that a backup knows nothing of, are told from
// those that go on.
func TestACursorOfAnotherStoreIsToldFromOurs(t *testing.T) {
	cfg := Config{Store: filepath.Join(t.TempDir(), "events.db")}
	b := startBus(t, cfg)
	talk(t, b, "call-1")
	waitKept(b)
	backup := replica(t, cfg)
	lost := startBus(t, replica(t, cfg)) // a run that the backup will not have
	talk(t, lost, "call-2")
	waitKept(lost)
	restored := startBus(t, Config{Store: backup.Store})
	runs := *restored.runs.Load()
	runs[len(runs)-1].N++ // the minute has passed
	other := startBus(t, Config{})
	for name, c := range map[string]struct {
		at   Cursor
		want error
	}{
		"of another server":        {other.Head(), ErrOtherStore},
		"of a run that went":       {lost.Head(), ErrOtherStore},
		"of the future":            {Cursor{restored.name, runs[len(runs)-1].N, 1 << 40}, ErrOtherStore},
		"none":                     {Cursor{}, ErrBadCursor},
		"of the run of the backup": {b.Head(), nil},
	} {
		if _, _, err := restored.Events(Filter{}, c.at, 10); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", name, err, c.want)
		}
	}
}
