package app

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/event"
	"sipxrest/internal/await"
	"sipxrest/sipflow/siptest"
)

// A call that one node has placed is in the stream, the history and the records of the
// other, under the same ids; one webhook is told of it once; and a cursor of one node is
// good at the other.
func TestBothNodesShowTheEventsOfBoth(t *testing.T) {
	_, phone := apptest.Phone(t, siptest.Script{})
	var mu sync.Mutex
	var told []string
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the test has what it wants
		mu.Lock()
		defer mu.Unlock()
		told = append(told, r.Header.Get("webhook-id"))
	}))
	defer receiver.Close()
	kept := newStore(t)
	node := func(name string) config.Config {
		cfg := watched(t, phone)
		cfg.Cluster.NATS, cfg.Cluster.Node = []string{"nats://" + kept.Addr()}, name
		cfg.Events.AllowPrivate = []string{"127.0.0.0/8"}
		return cfg
	}
	a, b := start(t, node("a")), start(t, node("b"))
	for _, s := range []*service{a, b} {
		await.Nil(t, s.ready)
		await.Nil(t, func() error {
			if len(s.nodesIn("live")) != 2 {
				return errors.New("the nodes do not know each other")
			}
			return nil
		})
	}
	spec := event.WebhookSpec{Name: "crm", URL: receiver.URL, Events: []string{"call.ended"}}
	spec.Complete()
	await.Nil(t, func() error {
		_, _, err := b.outbox.Create(spec, "", "", event.Cursor{})
		return err
	})
	from := b.bus.Head()
	for _, s := range []*service{a, b} {
		if resp := s.do("POST", s.Addrs()[0]+apptest.CallPath, "201", "123"); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
		await.Nil(t, func() error { // the key is free again, at any node
			if resp := s.do("DELETE", s.Addrs()[0]+apptest.CallPath, "201", "123"); resp.StatusCode != http.StatusOK {
				return errors.New(resp.Status)
			}
			return nil
		})
	}
	ended := func(s *service) (ids, nodes []string) {
		events, _, err := s.bus.Events(event.Filter{Types: []string{"call.ended"}}, from, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			ids, nodes = append(ids, e.ID), append(nodes, e.Data.Call.Node)
		}
		return ids, nodes
	}
	for _, s := range []*service{a, b} {
		await.Nil(t, func() error {
			ids, nodes := ended(s)
			mu.Lock()
			got := slices.Sorted(slices.Values(told))
			mu.Unlock()
			if slices.Sort(nodes); !slices.Equal(nodes, []string{"a", "b"}) || !slices.Equal(slices.Sorted(slices.Values(ids)), got) {
				return errors.New(strings.Join(nodes, " ") + ", told of " + strings.Join(got, " "))
			}
			return nil
		})
	}
	at := "?after=" + from.String() + "&limit=1000"
	var pages [2]string
	for i, s := range []*service{a, b} {
		resp, text := s.get("/v1/events"+at, "")
		if resp.StatusCode != http.StatusOK || !strings.Contains(text, "call.ended") {
			t.Fatalf("%s %s", resp.Status, text)
		}
		pages[i] = text
		await.Nil(t, func() error {
			_, text := s.get("/v1/cdrs", "")
			var list struct {
				Data []struct{ Node string }
			}
			if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Data) != 2 {
				return errors.New(text)
			}
			return nil
		})
	}
	if pages[0] != pages[1] {
		t.Errorf("node a shows\n%s\nand node b\n%s", pages[0], pages[1])
	}
}
