package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"sipxrest/event"
)

// stage is a rig with a bus, served over a network in memory, in fake time.
type stage struct {
	*rig
	bus    *event.Bus
	net    *pipeListener
	ctx    context.Context
	calls  int
	client *http.Client
	server *http.Server
}

// pipeListener is a network in memory.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "198.51.100.7:1000" }

// pipeConn has addresses as those of TCP.
type pipeConn struct{ net.Conn }

func (pipeConn) RemoteAddr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- pipeConn{theirs}:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// inFakeTime runs a test with a stage.
func inFakeTime(t *testing.T, f func(st *stage), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st, end := newStage(t, event.Config{Store: "memory", Strict: true}, change...)
		defer end()
		f(st)
	})
}

// newStage serves an API over a bus of its own.
func newStage(t *testing.T, cfg event.Config, change ...func(*Config)) (st *stage, end func()) {
	t.Helper()
	bus, err := event.Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = bus.Run(ctx) })
	st = &stage{rig: newRig(t, bus, change...), bus: bus, net: &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}, ctx: ctx}
	server := &http.Server{Handler: st.pin, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	running.Go(func() { _ = server.Serve(st.net) })
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return st.net.dial() }}
	st.client, st.server = &http.Client{Transport: transport}, server
	return st, func() {
		st.Shutdown()
		transport.CloseIdleConnections()
		server.Close()
		cancel()
		running.Wait()
		bus.Close()
	}
}

// create begins a call of 201 to 202, or of others.
func (st *stage) create(parties ...string) string {
	st.t.Helper()
	if parties == nil {
		parties = []string{"201", "202"}
	}
	st.calls++
	id := fmt.Sprintf("call-%012d", st.calls)
	at := func(n string) string { return n + "@" + testDomain }
	err := st.bus.Begin(event.Request{ID: id, Created: event.Created{Kind: event.ClickToCall, Source: event.FromAPI, Agent: at(parties[0]),
		State: event.Calling,
		Tags:  map[string]string{"n": fmt.Sprint(st.calls)}, Flow: event.Flow{Requested: "auto", Used: "invite"},
		Legs: []event.Leg{{Role: event.RoleCalling, Address: at(parties[0])}, {Role: event.RoleCalled, Address: at(parties[1])}}}})
	if err != nil {
		st.t.Fatal(err)
	}
	return id
}

// rings has the first phone of a call ring.
func (st *stage) rings(id string) {
	st.bus.Tell(id, event.LegDialled, "l1", event.Change{SIPCallID: "a-" + id})
	st.bus.Tell(id, event.LegRang, "l1", event.Change{RingingBy: "180"})
}

func (st *stage) ends(id string) {
	st.bus.Tell(id, event.CallEnded, "", event.Change{End: &event.End{Reason: "busy", Leg: "l1"}})
}

// settle waits until all that was told is seen.
func (st *stage) settle() {
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
}

// An sseReader reads server-sent events as a browser does.
type sseReader struct {
	st   *stage
	res  *http.Response
	in   *bufio.Reader
	last string // the id that it would come back with
}

// A block is what an EventSource would fire, or only an id.
type block struct{ id, kind, data string }

func (st *stage) open(target string, how ...func(*http.Request)) *sseReader {
	st.t.Helper()
	req, err := http.NewRequestWithContext(st.ctx, "GET", "http://"+testDomain+target, nil)
	if err != nil {
		st.t.Fatal(err)
	}
	req.Header.Set("Accept", eventStream)
	for _, f := range how {
		f(req)
	}
	res, err := st.client.Do(req)
	if err != nil {
		st.t.Fatal(err)
	}
	return &sseReader{st: st, res: res, in: bufio.NewReader(res.Body)}
}

func (r *sseReader) close() { r.res.Body.Close() }

// next reads a block; false at the end of the stream.
func (r *sseReader) next() (b block, ok bool) {
	seen := false
	for {
		line, err := r.in.ReadString('\n')
		if err != nil {
			return b, false
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			if seen {
				return b, true
			}
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "id":
			b.id, r.last, seen = value, value, true
		case "event":
			b.kind = value
		case "data":
			b.data = value
		}
	}
}

// event reads blocks until one has an event.
func (r *sseReader) event() (block, bool) {
	r.st.t.Helper()
	for range 20 {
		b, ok := r.next()
		if !ok || b.kind != "" {
			return b, ok
		}
	}
	r.st.t.Fatal("nothing but heartbeats")
	return block{}, false
}

func (r *sseReader) want(kinds ...string) (last block) {
	r.st.t.Helper()
	for _, want := range kinds {
		b, ok := r.event()
		if !ok || b.kind != want {
			r.st.t.Fatalf("%v %q %s, want %s", ok, b.kind, b.data, want)
		}
		last = b
	}
	return last
}

func as(name string) func(*http.Request) { return asUser(name) }

// A reader of a call who does not want its end is behind it all the same, so that a
// browser does not come back for ever.
func TestAStreamWithoutTheEndOfItsCallEnds(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		id := st.create()
		st.settle()
		st.rings(id)
		st.ends(id)
		st.settle()
		target := "/v1/calls/" + id + "/events?type=leg.ringing"
		w := st.ask("GET", target, as("201"), header("Accept", eventStream))
		last := ""
		for line := range strings.SplitSeq(w.Body.String(), "\n") {
			if at, ok := strings.CutPrefix(line, "id: "); ok {
				last = at
			}
		}
		if strings.Contains(w.Body.String(), "call.ended") || !strings.Contains(w.Body.String(), "leg.ringing") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		w = st.ask("GET", target, as("201"), header("Accept", eventStream), header("Last-Event-ID", last))
		if w.Code != 204 || w.Body.Len() != 0 {
			t.Errorf("who comes back: %d %s", w.Code, w.Body)
		}
	})
}

func TestAStreamTellsOfACallUntilItEnds(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		id := st.create()
		st.settle()
		r := st.open("/v1/calls/"+id+"/events", as("201"))
		defer r.close()
		if h := r.res.Header; r.res.StatusCode != 200 || h.Get("Content-Type") != eventStream || h.Get("X-Accel-Buffering") != "no" ||
			h.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", r.res.StatusCode, h)
		}
		first := r.want("call.created")
		st.rings(id)
		r.want("leg.dialing", "leg.ringing")
		st.ends(id)
		r.want("leg.ended", "leg.ended")
		last := r.want("call.ended")
		var e event.Event
		if err := json.Unmarshal([]byte(last.data), &e); err != nil || !e.Final || e.ID != last.id || e.Data.Call == nil ||
			e.Data.Call.State != event.Ended {
			t.Errorf("%v %s", err, last.data)
		}
		if b, ok := r.event(); ok {
			t.Errorf("after the end: %v", b)
		}
		// Who comes back with the last one is told to stop; with an earlier one it goes on.
		w := st.ask("GET", "/v1/calls/"+id+"/events", as("201"), header("Accept", eventStream), header("Last-Event-ID", last.id))
		if w.Code != 204 || w.Body.Len() != 0 {
			t.Errorf("at the end: %d %s", w.Code, w.Body)
		}
		again := st.open("/v1/calls/"+id+"/events", as("201"), header("Last-Event-ID", first.id))
		defer again.close()
		again.want("leg.dialing", "leg.ringing", "leg.ended", "leg.ended", "call.ended")
		synctest.Wait()
		if s := st.API.Stats(); s.Cut[CutFinished] != 3 || s.Streams != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAHeartbeatMovesTheCursorOverWhatIsFilteredOut(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		r := st.open("/v1/events?type=call.ended&after=now", as("201"))
		defer r.close()
		began, _ := r.next()
		st.rings(st.create())
		time.Sleep(aliveTime + lookTime)
		for {
			b, ok := r.next()
			if !ok || b.kind != "" || b.data != "" {
				t.Fatalf("%v %v", b, ok)
			}
			if b.id != began.id {
				if want := st.bus.Head().String(); b.id != want {
					t.Errorf("%s, want %s", b.id, want)
				}
				return
			}
		}
	})
}

func TestEachSeesOnlyHisCalls(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		for who, want := range map[string]string{"201": "201 202 + 203 201", "202": "201 202 + 202 203", "203": "202 203 + 203 201"} {
			_ = want
			r := st.open("/v1/events?after=now&type=call.created", as(who))
			defer r.close()
			for _, p := range [][]string{{"201", "202"}, {"202", "203"}, {"203", "201"}} {
				st.create(p...)
				st.settle() // calls are told side by side
			}
			var got []string
			for range 2 {
				b := r.want("call.created")
				var e event.Event
				if err := json.Unmarshal([]byte(b.data), &e); err != nil {
					t.Fatal(err)
				}
				got = append(got, strings.TrimSuffix(e.Data.Call.Legs[0].Address, "@"+testDomain)+" "+strings.TrimSuffix(e.Data.Call.Legs[1].Address,
					"@"+testDomain))
			}
			if text := strings.Join(got, " + "); text != want {
				t.Errorf("%s sees %s, want %s", who, text, want)
			}
		}
	})
}

func TestACursorThatIsGoneIsSaidInTheStream(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		for _, last := range []string{"evt_aaaaaa_1_1", "7", "evt_aaaaaa_99_1"} {
			r := st.open("/v1/events", as("201"), header("Last-Event-ID", last))
			b := r.want(streamReset)
			if r.res.StatusCode != 200 || !strings.Contains(b.data, `"reason":"other_store"`) || b.id != st.bus.Head().String() {
				t.Errorf("%s: %d %v", last, r.res.StatusCode, b)
			}
			st.create()
			r.want("call.created") // it goes on live
			r.close()
		}
		if p := problemOf(t, st.ask("GET", "/v1/events?after=evt_aaaaaa_1_1", as("201"))); p.Code != CursorExpired ||
			p.Reason != "other_store" || p.Oldest == "" {
			t.Errorf("%+v", p)
		}
		if p := problemOf(t, st.ask("GET", "/v1/events?after=7", as("201"))); p.Code != InvalidCursor {
			t.Errorf("%+v", p)
		}
	})
}

func TestAtTheEndStreamsSaySo(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		r := st.open("/v1/events?after=now", as("201"))
		defer r.close()
		id := st.create()
		st.ends(id)
		st.settle()
		done := make(chan struct{})
		go func() { st.Shutdown(); close(done) }()
		r.want("call.created", "leg.ended", "leg.ended", "call.ended")
		b := r.want(streamClosing)
		if !strings.Contains(b.data, `"retry_ms":`) || !strings.Contains(b.data, `"reason":"shutdown"`) {
			t.Error(b.data)
		}
		if b, ok := r.next(); ok {
			t.Errorf("after the end: %v", b)
		}
		<-done
		if p := problemOf(t, st.ask("GET", "/v1/events", as("201"), header("Accept", eventStream))); p.Code != Draining {
			t.Errorf("%+v", p)
		}
	})
}

func TestOfOneCallOnlyTheNewestIsSentToWhoWantsThat(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		a, b := st.create(), st.create()
		st.rings(a)
		st.rings(b)
		st.ends(b)
		st.settle()
		r := st.open("/v1/events?after=oldest&coalesce=call&include=change&type=call.*&type=leg.*", as("201"))
		defer r.close()
		for range 2 { // of two calls, in either order
			b, _ := r.event()
			skipped := map[string]string{"leg.ringing": `,"skipped":2}`, "call.ended": `,"skipped":5}`}[b.kind]
			if skipped == "" || !strings.HasSuffix(b.data, skipped) || strings.Contains(b.data, `"call":`) {
				t.Error(b)
			}
		}
	})
}

func TestStreamsOfOneUserAndOfOneCallAreLimited(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		id := st.create()
		st.settle()
		for range 2 {
			defer st.open("/v1/events", as("201")).close()
		}
		if p := problemOf(t, st.ask("GET", "/v1/events", as("201"), header("Accept", eventStream))); p.Code != TooManyStreams || p.Status != 429 {
			t.Errorf("%+v", p)
		}
		defer st.open("/v1/calls/"+id+"/events", as("202")).close()
		if p := problemOf(t, st.ask("GET", "/v1/calls/"+id+"/events", as("202"), header("Accept", eventStream))); p.Code != TooManyStreams ||
			!strings.HasPrefix(p.Detail, "This call") {
			t.Errorf("%+v", p)
		}
		defer st.open("/v1/events", as("202")).close()
		if p := problemOf(t, st.ask("GET", "/v1/events", as("203"), header("Accept", eventStream))); p.Code != Overloaded {
			t.Errorf("%+v", p)
		}
	}, func(c *Config) { c.Streams, c.StreamsPerUser, c.StreamsPerCall = 4, 2, 1 })
}

func TestARevokedKeyEndsItsStream(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		r := st.open("/v1/events", st.withKey("reader"))
		defer r.close()
		ws := st.dialWS("/v1/events", subprotocol, "bearer."+st.keys["reader"])
		began := time.Now()
		if err := st.cfg.Keys.SetFixed(nil); err != nil {
			t.Fatal(err)
		}
		if b, ok := r.event(); ok {
			t.Errorf("%v", b)
		}
		if code := readToClose(ws); code != closeRevoked {
			t.Errorf("closed with %d", code)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

func (st *stage) dialWS(target string, protocols ...string) *websocket.Conn {
	st.t.Helper()
	ws, _, err := websocket.Dial(st.ctx, "ws://"+testDomain+target, &websocket.DialOptions{HTTPClient: st.client, Subprotocols: protocols})
	if err != nil {
		st.t.Fatal(err)
	}
	return ws
}

// readToClose reads until the other side closes.
func readToClose(ws *websocket.Conn) websocket.StatusCode {
	for {
		if _, _, err := ws.Read(context.Background()); err != nil {
			_ = ws.CloseNow()
			return websocket.CloseStatus(err)
		}
	}
}

func TestAWebSocketTellsTheSame(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		id := st.create()
		st.settle()
		ws := st.dialWS("/v1/calls/"+id+"/events", subprotocol, "bearer."+st.keys["crm"])
		if ws.Subprotocol() != subprotocol {
			t.Errorf("subprotocol %q", ws.Subprotocol())
		}
		var kinds []string
		read := func() {
			kind, data, err := ws.Read(context.Background())
			if err != nil || kind != websocket.MessageText {
				t.Fatal(kind, err)
			}
			var e struct{ Type string }
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, e.Type)
		}
		read() // where it is
		read()
		st.rings(id)
		read()
		read()
		st.ends(id)
		read()
		read()
		read()
		if got := strings.Join(kinds, " "); got != "stream.heartbeat call.created leg.dialing leg.ringing leg.ended leg.ended call.ended" {
			t.Error(got)
		}
		if code := readToClose(ws); code != websocket.StatusNormalClosure {
			t.Errorf("closed with %d", code)
		}
		// Who speaks here is told that none does.
		ws = st.dialWS("/v1/events", subprotocol, "bearer."+st.keys["crm"])
		closed := make(chan websocket.StatusCode, 1)
		go func() { closed <- readToClose(ws) }()
		st.settle() // this network holds nothing: the first ping has its pong
		if err := ws.Write(context.Background(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if code := <-closed; code != websocket.StatusPolicyViolation {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestATicketOpensOneStream(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		ticket := func(doc string) string {
			w := st.ask("POST", "/v1/stream-tickets", st.withKey("crm"), body(doc))
			var d struct{ Ticket string }
			if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != 201 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			return d.Ticket
		}
		text := ticket(`{"types":["call.created"]}`)
		r := st.open("/v1/events?after=now&ticket=" + text)
		defer r.close()
		st.create("202", "203") // which the key does not see
		st.rings(st.create())
		if b := r.want("call.created"); !strings.Contains(b.data, "201@") {
			t.Error(b.data)
		}
		if p := problemOf(t, st.ask("GET", "/v1/events?ticket="+text, header("Accept", eventStream))); p.Code != Unauthenticated ||
			!strings.Contains(p.Detail, "ticket") {
			t.Errorf("used again: %+v", p)
		}
		text = ticket(``)
		time.Sleep(ticketTime)
		if p := problemOf(t, st.ask("GET", "/v1/events?ticket="+text)); p.Code != Unauthenticated {
			t.Errorf("too late: %+v", p)
		}
		if p := problemOf(t, st.ask("GET", "/v1/events?type=leg.*&ticket="+ticket(`{"types":["call.*"]}`))); p.Code != InvalidRequest ||
			p.Errors[0].Parameter != "type" {
			t.Errorf("with filters of its own: %+v", p)
		}
		if p := problemOf(t, st.ask("GET", "/v1/me?ticket="+ticket(`{}`))); p.Code != UnknownParameter {
			t.Errorf("elsewhere: %+v", p)
		}
		w := st.ask("POST", "/v1/stream-tickets", st.withKey("crm"), body(`{"types":["call.begun"],"kinds":["x"],"call":"y"}`))
		if p := problemOf(t, w); p.Code != InvalidRequest {
			t.Errorf("%+v", p)
		}
		ws := st.dialWS("/v1/events", subprotocol, "ticket."+ticket(`{}`))
		_ = ws.CloseNow()
	})
}

func TestASnapshotAndWhatFollowsMissNothing(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		seen := map[string]int64{} // the last version of each call that the reader knows
		over := map[string]bool{}
		for range 150 { // more than one part of a snapshot
			st.create()
		}
		st.settle()
		stop := make(chan struct{})
		var busy sync.WaitGroup
		busy.Go(func() { // calls come and go meanwhile
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := st.create()
				st.rings(id)
				if i%2 == 0 {
					st.ends(id)
				}
				time.Sleep(time.Millisecond)
			}
		})
		time.Sleep(20 * time.Millisecond)
		r := st.open("/v1/events?snapshot=1&after=now", st.withKey("all"))
		defer r.close()
		for parts := 1; parts > 0; {
			b := r.want(streamSnapshot)
			var n note
			if err := json.Unmarshal([]byte(b.data), &n); err != nil {
				t.Fatal(err)
			}
			for _, c := range n.Data.Calls {
				if _, twice := seen[c.ID]; twice {
					t.Errorf("%s is there twice", c.ID)
				}
				seen[c.ID] = c.Version
			}
			parts = n.Data.Parts - n.Data.Part
		}
		if len(seen) < 150 {
			t.Errorf("%d calls", len(seen))
		}
		time.Sleep(20 * time.Millisecond)
		close(stop)
		busy.Wait()
		last := st.create()
		for {
			b, ok := r.event()
			if !ok {
				t.Fatal("the stream ended")
			}
			var e event.Event
			if err := json.Unmarshal([]byte(b.data), &e); err != nil {
				t.Fatal(err)
			}
			if e.Data.CallID == nil {
				continue
			}
			id := *e.Data.CallID
			if e.CallSeq != seen[id]+1 && !(e.Type == event.CallCreated && seen[id] == 0) && (seen[id] != 0 || !e.Final) {
				t.Errorf("%s: event %d after version %d", id, e.CallSeq, seen[id])
			}
			seen[id] = e.CallSeq
			over[id] = over[id] || e.Final
			if id == last {
				break
			}
		}
		calls, _, err := st.bus.Calls(event.CallFilter{States: []string{"active"}}, event.Page{Limit: 1})
		if err != nil || len(calls) != 1 {
			t.Fatal(err)
		}
		for next := ""; ; {
			page, more, err := st.bus.Calls(event.CallFilter{States: []string{"active"}}, event.Page{Limit: 100, Cursor: next})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page {
				if seen[c.ID] != c.Version || over[c.ID] {
					t.Errorf("%s is at version %d, the reader knows %d", c.ID, c.Version, seen[c.ID])
				}
			}
			if next = more; next == "" {
				break
			}
		}
	})
}

// Who reads nothing, or next to nothing, is cut, and nobody else is late.
func TestReadersThatDoNotReadAreCut(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		var slow []net.Conn
		for i := range 200 {
			c, err := st.net.dial()
			if err != nil {
				t.Fatal(err)
			}
			slow = append(slow, c)
			fmt.Fprintf(c, "GET /v1/events?after=now HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nAuthorization: Bearer %s\r\n\r\n", testDomain,
				eventStream, st.keys["reader"])
			if i%2 == 0 {
				go func() { // a byte each second
					var b [1]byte
					for {
						if _, err := c.Read(b[:]); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}()
			}
		}
		r := st.open("/v1/events?after=now&type=call.created", as("201"))
		defer r.close()
		synctest.Wait()
		began := time.Now()
		for range 5 {
			at := time.Now()
			st.create()
			r.want("call.created")
			if late := time.Since(at); late > time.Second {
				t.Errorf("another's event came after %v", late)
			}
			time.Sleep(5 * time.Second)
		}
		synctest.Wait()
		if s := st.API.Stats(); s.Cut[CutSlow] != uint64(len(slow)) || s.Streams != 1 {
			t.Errorf("after %v: %+v", time.Since(began), s.Cut)
		}
		for _, c := range slow {
			c.Close()
		}
	}, func(c *Config) { c.StreamsPerUser = 1000 })
}

// However many streams there are, the end is said to all of them within seconds, and
// they are told to come back at different times.
func TestTheEndIsSaidToAThousandStreams(t *testing.T) {
	const many = 1000
	inFakeTime(t, func(st *stage) {
		var reading sync.WaitGroup
		closing := make(chan string, many)
		for range many {
			c, err := st.net.dial()
			if err != nil {
				t.Fatal(err)
			}
			reading.Go(func() {
				defer c.Close()
				fmt.Fprintf(c, "GET /v1/events?after=now&include=change HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nAuthorization: Bearer %s\r\n\r\n",
					testDomain, eventStream, st.keys["reader"])
				last := ""
				for in := bufio.NewScanner(c); in.Scan(); {
					if strings.HasPrefix(in.Text(), "data: ") {
						last = in.Text()
					}
				}
				closing <- last
			})
		}
		synctest.Wait()
		if n := st.API.Stats().Streams; n != many {
			t.Fatalf("%d streams", n)
		}
		id := st.create()
		st.ends(id)
		st.settle()
		began := time.Now()
		st.Shutdown()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		// net/http keeps the connections for other requests: they end with it.
		st.server.Close()
		reading.Wait()
		times := map[string]bool{}
		for range many {
			last := <-closing
			_, retry, ok := strings.Cut(last, `"retry_ms":`)
			if !ok || !strings.Contains(last, streamClosing) {
				t.Fatalf("the last was %q", last)
			}
			times[retry] = true
		}
		if len(times) < many/4 {
			t.Errorf("they come back at %d different times", len(times))
		}
	}, func(c *Config) { c.StreamsPerUser = many })
}

// A page that its reader has, and to which nothing was added, is not sent again.
func TestAPageOfEventsIsNotSentTwice(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		for _, path := range []string{"/v1/events", "/v1/calls/ID/events"} {
			id := st.create()
			st.settle()
			path = strings.Replace(path, "ID", id, 1)
			w := st.ask("GET", path+"?after=now", as("201"))
			tag := w.Header().Get("ETag")
			know := header("If-None-Match", tag)
			again := st.ask("GET", path+"?after=now", as("201"), know)
			if w.Code != 200 || again.Code != 304 || again.Body.Len() != 0 || again.Header().Get("ETag") != tag {
				t.Errorf("%s: %d, again %d %s", path, w.Code, again.Code, again.Body)
			}
			st.rings(id)
			st.settle()
			if after := st.ask("GET", path+"?after="+strings.Trim(tag, `"`), as("201"), know); after.Code != 200 {
				t.Errorf("%s, when a phone rings: %d", path, after.Code)
			}
		}
	})
}
