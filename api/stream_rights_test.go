package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/event"
)

// A key of which less is left must not read on as before.
func TestAKeyThatMayLessEndsItsStream(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		w := st.ask("POST", "/v1/stream-tickets", st.withKey("reader"), body(`{}`))
		var made struct{ Ticket string }
		if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		r := st.open("/v1/events", st.withKey("reader"))
		defer r.close()
		st.create("202", "203")
		r.want("call.created")
		kept := slices.Clone(st.cfg.Keys.now.Load().all)
		set := func(agents ...string) {
			var fixed []Key
			for _, k := range kept {
				changed := *k
				if k.Name == "reader" {
					changed.Agents = agents
				}
				fixed = append(fixed, changed)
			}
			if err := st.cfg.Keys.SetFixed(fixed); err != nil {
				t.Fatal(err)
			}
		}
		set("*")
		time.Sleep(2 * lookTime)
		st.create("202", "203")
		r.want("call.created") // nothing has changed
		set("201")
		time.Sleep(2 * lookTime)
		st.create("202", "203")
		if b, ok := r.event(); ok {
			t.Errorf("another's call is told: %v", b)
		}
		if p := problemOf(t, st.ask("GET", "/v1/events?ticket="+made.Ticket)); p.Code != Unauthenticated {
			t.Errorf("a ticket with the rights of before: %+v", p)
		}
	})
}

// slowSink takes a tenth of a second for each event.
type slowSink struct {
	first chan struct{} // closed when the first one came
	once  sync.Once
	kinds []string
}

func (s *slowSink) event(_ event.Cursor, kind string, _ []byte) error {
	s.once.Do(func() { close(s.first) })
	s.kinds = append(s.kinds, kind)
	time.Sleep(100 * time.Millisecond)
	return nil
}

func (*slowSink) alive(event.Cursor) error { return nil }
func (*slowSink) flush() error             { return nil }

// Who is far behind is treated as others: he loses his rights, and hears of the end,
// before he has read all.
func TestAReaderFarBehindHearsWhatOthersHear(t *testing.T) {
	for _, tt := range []struct {
		why Cut
		do  func(st *stage)
	}{
		{CutRevoked, func(st *stage) { _ = st.cfg.Keys.SetFixed(nil) }},
		{CutShutdown, func(st *stage) { go st.Shutdown() }},
	} {
		t.Run(string(tt.why), func(t *testing.T) {
			inFakeTime(t, func(st *stage) {
				const calls = 8 * batchMost
				for range calls {
					st.create()
				}
				st.settle()
				k := st.cfg.Keys.Named("reader")
				sink := &slowSink{first: make(chan struct{})}
				f := &follower{API: st.API, out: sink, who: &Principal{Type: PrincipalKey, Name: k.Name, Key: k, token: k.sum()},
					rd: &reading{cursor: st.bus.Oldest()}}
				ended := make(chan Cut)
				go func() { ended <- f.follow(st.ctx) }()
				<-sink.first
				tt.do(st)
				if why := <-ended; why != tt.why || len(sink.kinds) > 2*batchMost+1 {
					t.Errorf("%s after %d events", why, len(sink.kinds))
				}
				synctest.Wait()
			})
		})
	}
}

// Tickets that nobody uses take neither the memory nor the places of others.
func TestUnusedTicketsAreBounded(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		long := fmt.Sprintf(`{"agents":[%q]}`, strings.Repeat("a", maxTicketBytes))
		if p := problemOf(t, st.ask("POST", "/v1/stream-tickets", st.withKey("crm"), body(long))); p.Code != InvalidRequest {
			t.Errorf("%+v", p)
		}
		get := func(name string) int { return st.ask("POST", "/v1/stream-tickets", st.withKey(name), body(`{}`)).Code }
		for range maxTicketsOfOne {
			if code := get("crm"); code != 201 {
				t.Fatal(code)
			}
		}
		p := problemOf(t, st.ask("POST", "/v1/stream-tickets", st.withKey("crm"), body(`{}`)))
		if p.Code != TooManyStreams || !strings.Contains(p.Detail, "1000 stream tickets") {
			t.Errorf("%+v", p)
		}
		if code := get("reader"); code != 201 {
			t.Errorf("another's: %d", code)
		}
		time.Sleep(ticketTime)
		if code := get("crm"); code != 201 || st.tickets.of["key:crm"] != 1 {
			t.Errorf("later: %d, %d are out, %v", code, len(st.tickets.out), st.tickets.of)
		}
	})
}

// Why the store cannot write is said, but not where it is.
func TestAFullStoreDoesNotTellItsPath(t *testing.T) {
	for _, err := range []error{
		&event.StoreError{Store: "/srv/secret/events.db", Behind: 300 * time.Millisecond},
		&event.StoreError{Store: "/srv/secret/events.db", Err: errors.New("open /srv/secret/events.db: disk is full")},
		context.DeadlineExceeded,
	} {
		p := (&API{}).storeRefusal(err)
		if strings.Contains(p.Detail, "secret") || !strings.Contains(p.Detail, "cannot write events.db: ") {
			t.Error(p.Detail)
		}
	}
}

// A WebSocket whose client has gone without a word gives its place back at once, though
// a pong is still awaited.
func TestAWebSocketThatIsGoneFreesItsPlace(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		c, err := st.net.dial()
		if err != nil {
			t.Fatal(err)
		}
		go func() { // no ping is answered
			_, _ = io.Copy(io.Discard, c)
		}()
		fmt.Fprintf(c, "GET /v1/events HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", testDomain, st.keys["reader"])
		time.Sleep(time.Second)
		if n := st.API.Stats().Streams; n != 1 {
			t.Fatalf("%d streams", n)
		}
		c.Close()
		time.Sleep(closeTime + time.Second)
		if n := st.API.Stats().Streams; n != 0 {
			t.Errorf("%d streams after the client has gone", n)
		}
	})
}

// A page reads on behind the thousandth event of a call, to its end.
func TestPagesOfALongCallReachItsEnd(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		id := st.create()
		const updates = eventsMost + 100
		for i := range updates {
			st.bus.Tell(id, event.CallUpdated, "", event.Change{Tags: map[string]string{"n": fmt.Sprint(i)}})
		}
		st.ends(id)
		st.settle()
		var kinds []string
		for after, more := "oldest", true; more; {
			w := st.ask("GET", "/v1/calls/"+id+"/events?limit=400&after="+after, st.withKey("reader"))
			var page struct {
				Data    []struct{ Type string }
				HasMore bool `json:"has_more"`
				Next    string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
				t.Fatal(w.Code, err)
			}
			for _, e := range page.Data {
				kinds = append(kinds, e.Type)
			}
			after, more = page.Next, page.HasMore
		}
		if n := len(kinds); n < updates+2 || kinds[n-1] != string(event.CallEnded) {
			t.Errorf("%d events, the last %s", n, kinds[n-1])
		}
	})
}
