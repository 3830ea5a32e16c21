package dialout

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// watch reads a call's events until they end, and returns what data they had.
func (st *stage) watch(id string, change ...func(*http.Request)) <-chan []string {
	got := make(chan []string, 1)
	go func() {
		w := st.ask("GET", "/dialout/"+id+"/events", "", change...)
		if w.Code != 200 || w.Header().Get("Content-Type") != "text/event-stream" {
			got <- []string{w.Body.String()}
			return
		}
		got <- data(w.Body)
	}()
	synctest.Wait()
	return got
}

func TestEventsAreAllStatusesFromTheBeginningToTheEnd(t *testing.T) {
	alone(t, func(st *stage) {
		id := st.call()
		l := st.one()
		early := st.watch(id)
		l.rings()
		late := st.watch(id)
		again := st.watch(id, func(r *http.Request) { r.Header.Set("Last-Event-ID", "2") })
		l.connects()
		l.ends(phone, nil)
		want := []string{
			`{"callid":"` + id + `","status":"accepted"}`,
			`{"callid":"` + id + `","status":"ringing"}`,
			`{"callid":"` + id + `","status":"connected"}`,
			`{"callid":"` + id + `","status":"cleared","cause":"EndedByRemote","code":200,"message":"Bye"}`,
		}
		for name, got := range map[string][]string{"early": <-early, "late": <-late} {
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q", name, got)
			}
		}
		if got := <-again; !slices.Equal(got, want[2:]) {
			t.Errorf("behind Last-Event-ID: %q", got)
		}
		time.Sleep(keepTime - time.Second)
		if got := <-st.watch(id); !slices.Equal(got, want) {
			t.Errorf("after the end: %q", got)
		}
		if got := <-st.watch(id, func(r *http.Request) { r.Header.Set("Last-Event-ID", "99") }); len(got) != 0 {
			t.Errorf("behind the last one: %q", got)
		}
		if got := <-st.watch(id, asAlice); len(got) != 1 || !strings.Contains(got[0], noSuchCall) {
			t.Errorf("another user: %q", got)
		}
		if n := st.Stats().Subscribers; n != 0 {
			t.Errorf("%d subscribers stay", n)
		}
	})
}

func TestSubscribersAreBounded(t *testing.T) {
	alone(t, func(st *stage) {
		id := st.call()
		st.subscribers = maxSubscribers
		if w := st.ask("GET", "/dialout/"+id+"/events", ""); w.Code != 429 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		st.subscribers = 0
	})
}

// One user must not keep all others from their events.
func TestSubscribersOfOneCallAreBounded(t *testing.T) {
	alone(t, func(st *stage) {
		id, other := st.call(), st.call()
		for range maxWatchers {
			st.watch(id)
		}
		select {
		case got := <-st.watch(id):
			if len(got) != 1 || !strings.Contains(got[0], tooManyWatch) {
				t.Errorf("one too many: %q", got)
			}
		default:
			t.Error("one too many is served")
		}
		watched := st.watch(other)
		for _, l := range st.lines() {
			l.ends(phone, nil)
		}
		synctest.Wait()
		if got := <-watched; len(got) != 2 {
			t.Errorf("those of another call: %q", got)
		}
		if got := <-st.watch(id); len(got) != 2 {
			t.Errorf("once the others have gone: %q", got)
		}
	})
}

func TestSubscribersWhoGoAwayAreForgotten(t *testing.T) {
	alone(t, func(st *stage) {
		id := st.call()
		ctx, cancel := context.WithCancel(context.Background())
		watched := st.watch(id, func(r *http.Request) { *r = *r.WithContext(ctx) })
		time.Sleep(aliveTime)
		synctest.Wait()
		if n := st.Stats().Subscribers; n != 1 {
			t.Errorf("%d subscribers", n)
		}
		cancel()
		<-watched
		if n := st.Stats().Subscribers; n != 0 {
			t.Errorf("%d subscribers stay", n)
		}
	})
}

func TestShutdownEndsStreamsWithTheLastStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, nil)
		stop := st.runs()
		id := st.call()
		watched := st.watch(id)
		stop()
		if got := <-watched; len(got) != 2 || !strings.Contains(got[1], `"status":"cleared"`) {
			t.Errorf("%q", got)
		}
	})
}

// A reader who reads nothing does not hold a stream for ever.
func TestSlowReadersAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, nil)
		stop := st.runs()
		id := st.call()
		l := st.one()
		ours, theirs := net.Pipe() // without any buffer
		server := &http.Server{Handler: st.http, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
		go server.Serve(&oneConn{conn: ours, closed: make(chan struct{})}) //nolint:errcheck // ends by Close
		r := httptest.NewRequest("GET", "/dialout/"+id+"/events", nil)
		r.SetBasicAuth("201", "123")
		if err := r.Write(theirs); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := st.Stats().Subscribers; n != 1 {
			t.Errorf("%d subscribers", n)
		}
		l.rings()
		time.Sleep(sendTime + time.Second)
		synctest.Wait()
		if n := st.Stats().Subscribers; n != 0 {
			t.Errorf("a reader who reads nothing stays: %d", n)
		}
		theirs.Close()
		server.Close()
		stop()
	})
}

// A stream lives longer than the listener's time-outs.
func TestStreamsOutliveTheTimeoutsOfTheListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, nil)
		stop := st.runs()
		id := st.call()
		l := st.one()
		ours, theirs := net.Pipe()
		server := &http.Server{Handler: st.http, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
		go server.Serve(&oneConn{conn: ours, closed: make(chan struct{})}) //nolint:errcheck // ends by Close
		r := httptest.NewRequest("GET", "/dialout/"+id+"/events", nil)
		r.SetBasicAuth("201", "123")
		if err := r.Write(theirs); err != nil {
			t.Fatal(err)
		}
		read := make(chan []string, 1)
		go func() { read <- data(theirs) }()
		time.Sleep(5 * time.Minute)
		l.rings()
		time.Sleep(time.Minute)
		l.ends(phone, nil)
		synctest.Wait()
		theirs.Close()
		if got := <-read; len(got) != 3 {
			t.Errorf("read %q", got)
		}
		server.Close()
		stop()
	})
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }
