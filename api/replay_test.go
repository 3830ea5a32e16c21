package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/event"
)

// A wanderer reads all events and is cut off again and again, at any byte. It comes
// back with its cursor, in another way each time.
type wanderer struct {
	random *rand.Rand
	who    func(*http.Request)
	cursor string
	ids    []string // of the events that it got
	resets int
}

// read takes what comes until it is cut off, in one of three ways.
func (c *wanderer) read(st *stage) {
	switch c.random.IntN(3) {
	case 0:
		c.readSSE(st)
	case 1:
		c.readWS(st)
	case 2:
		c.readPages(st, 1+c.random.IntN(30))
	}
}

func (c *wanderer) take(id, kind string) {
	c.cursor = id
	switch {
	case kind == streamReset:
		c.resets++
	case kind != "" && !strings.HasPrefix(kind, "stream.") && !strings.HasPrefix(kind, "system."):
		c.ids = append(c.ids, id)
	}
}

func (c *wanderer) readSSE(st *stage) {
	r := st.open("/v1/events?include=change", c.who, header("Last-Event-ID", c.cursor))
	defer r.close()
	r.in = bufio.NewReader(io.LimitReader(r.res.Body, 1+c.random.Int64N(12_000)))
	for {
		b, ok := r.next()
		if !ok {
			return
		}
		c.take(b.id, b.kind)
		if b.kind == "" && c.random.IntN(2) == 0 { // there is nothing more for now
			return
		}
	}
}

func (c *wanderer) readWS(st *stage) {
	ws := st.dialWS("/v1/events?include=change&after="+c.cursor, subprotocol, "bearer."+st.keys["all"])
	defer ws.CloseNow()
	for range c.random.IntN(40) {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		_, data, err := ws.Read(ctx)
		cancel()
		if err != nil {
			return
		}
		var e struct{ ID, Type string }
		if err := json.Unmarshal(data, &e); err != nil {
			st.t.Error(err)
		}
		if e.Type == streamHeartbeat {
			e.Type = ""
		}
		c.take(e.ID, e.Type)
	}
}

func (c *wanderer) readPages(st *stage, limit int) {
	for range 1 + c.random.IntN(3) {
		w := st.ask("GET", fmt.Sprintf("/v1/events?include=change&limit=%d&after=%s", limit, c.cursor), c.who)
		var page struct {
			Data []struct{ ID, Type string }
			Next string
			More bool `json:"has_more"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
			st.t.Errorf("%d %s", w.Code, w.Body)
			return
		}
		for _, e := range page.Data {
			c.take(e.ID, e.Type)
		}
		if c.cursor = page.Next; !page.More {
			return
		}
	}
}

// Readers that are cut at any byte, read in any way, and live through restarts have
// the same events as one that was never cut: none is missing, none comes twice.
func TestWhoIsCutOffComesBackAndHasMissedNothing(t *testing.T) {
	const readers, rounds = 20, 3
	file := filepath.Join(t.TempDir(), "events.db")
	synctest.Test(t, func(t *testing.T) {
		var all []*wanderer
		for i := range readers {
			all = append(all, &wanderer{random: rand.New(rand.NewPCG(uint64(i), 7))})
		}
		calls := 0
		for round := range rounds { // each is a life of the service
			// What is in memory is short, so that most comes from the file.
			st, end := newStage(t, event.Config{Store: file, Strict: true, Recent: 50 * time.Millisecond, RecentBytes: 1 << 10},
				func(c *Config) { c.StreamsPerUser = readers })
			st.calls = calls
			for _, c := range all {
				if c.who = st.withKey("all"); c.cursor == "" {
					c.cursor = st.bus.Oldest().String()
				}
			}
			var busy, reading sync.WaitGroup
			busy.Go(func() {
				for i := range 60 {
					id := st.create()
					st.rings(id)
					if i%3 != 0 {
						st.ends(id)
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
			for _, c := range all {
				reading.Go(func() {
					for range 6 {
						c.read(st)
						time.Sleep(time.Duration(c.random.IntN(60)) * time.Millisecond)
					}
				})
			}
			busy.Wait()
			reading.Wait()
			st.settle()
			calls = st.calls
			if round == rounds-1 {
				compare(t, st, all)
			}
			end()
		}
	})
}

// compare has each reader read to the end, and looks at what it has then.
func compare(t *testing.T, st *stage, all []*wanderer) {
	t.Helper()
	var want []string
	for at := st.bus.Oldest(); ; {
		events, next, err := st.bus.Events(event.Filter{}, at, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if !strings.HasPrefix(string(e.Type), "system.") {
				want = append(want, e.ID)
			}
		}
		if at == next {
			break
		}
		at = next
	}
	if len(want) < 3*60*3 {
		t.Errorf("there are %d events only", len(want))
	}
	for i, c := range all {
		for range 2000 {
			if c.cursor == st.bus.Head().String() {
				break
			}
			c.readPages(st, eventsMost)
		}
		if !slices.Equal(c.ids, want) {
			at := 0
			for at < min(len(c.ids), len(want)) && c.ids[at] == want[at] {
				at++
			}
			t.Errorf("reader %d has %d events of %d, %d resets; they differ from number %d on", i, len(c.ids), len(want), c.resets, at)
		}
	}
}
