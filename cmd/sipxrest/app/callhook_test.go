package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/event"
	"sipxrest/sipflow/siptest"
)

// A webhook that a call was placed with hears of this call, signed by the secret of
// the key, from the first event to the last one; then it is gone.
func TestTheWebhookOfACallHearsOfThatCallToItsEnd(t *testing.T) {
	text, k := api.NewKey("crm")
	k.Scopes, k.Agents = []api.Scope{api.CallsRead, api.CallsWrite, api.WebhooksCall}, []string{"201"}
	lib, err := standardwebhooks.NewWebhook(api.WebhookSecret(text))
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan *event.Event, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = lib.Verify(body, r.Header)
		}
		var e event.Event
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil || r.Header.Get("Webhook-Id") != e.ID || r.Header.Get("Sipxrest-Attempt") != "1" {
			t.Errorf("%v: %v %s", err, r.Header, body)
		}
		told <- &e
	}))
	t.Cleanup(receiver.Close)

	phone, proxy := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, proxy)
	cfg.Trusted, cfg.Events.AllowPrivate = nil, []string{"127.0.0.0/8"}
	cfg.API.Keys = []api.Key{k}
	s := start(t, cfg)
	ask := func(status int, method, target, body string) (c event.Call) {
		t.Helper()
		r, err := http.NewRequest(method, s.Addrs()[0]+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+text)
		r.Header.Set("Content-Type", "application/json")
		resp, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status {
			t.Fatalf("%s %s %s: %v %s %s", method, target, body, err, resp.Status, answer)
		}
		if err := json.Unmarshal(answer, &c); err != nil {
			t.Fatalf("%v: %s", err, answer)
		}
		return c
	}
	hooks := func() (n int) {
		for _, of := range s.outbox.Stats().Webhooks {
			n += of
		}
		return n
	}
	// What is refused leaves no webhook.
	ask(422, "POST", "/v1/calls", `{"agent":"201","calling":"201","called":"202","webhook":{"url":"https://10.0.0.5/"}}`)
	if n := hooks(); n != 0 || len(phone.Requests("INVITE")) != 0 {
		t.Fatalf("a call that was refused has %d webhooks", n)
	}

	other := ask(201, "POST", "/v1/calls", `{"agent":"201","calling":"201","called":"203"}`)
	placed := ask(201, "POST", "/v1/calls", fmt.Sprintf(`{"agent":"201","calling":"201","called":"202","tags":{"deal":"4711"},
		"webhook":{"url":%q,"events":["call.*","leg.*"]}}`, receiver.URL))
	var got []*event.Event
	take := func(last event.Type) {
		t.Helper()
		for {
			select {
			case e := <-told:
				if got = append(got, e); e.Type == last {
					return
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("the webhook does not hear of %s\n%s", last, s.log)
			}
		}
	}
	take(event.CallConnected)
	if n := hooks(); n != 1 {
		t.Errorf("there are %d webhooks during the call", n)
	}
	ask(200, "DELETE", "/v1/calls/"+other.ID, "")
	ask(200, "DELETE", "/v1/calls/"+placed.ID, "")
	take(event.CallEnded)

	list, err := s.bus.CallEvents(placed.ID, 0, 100)
	if err != nil || len(list) != len(got) {
		t.Fatalf("the call has %d events, the webhook was told of %d: %v", len(list), len(got), err)
	}
	for i, e := range got {
		if e.ID != list[i].ID || e.CallSeq != int64(i+1) || e.Final != (i == len(got)-1) || e.Data.CallID == nil || *e.Data.CallID != placed.ID ||
			e.Data.Call == nil || e.Data.Call.Tags["deal"] != "4711" {
			t.Errorf("event %d: %+v, want %s", i+1, e, list[i].ID)
		}
	}
	for limit := time.Now().Add(10 * time.Second); hooks() != 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the webhook is still there")
		}
	}
	select {
	case e := <-told:
		t.Errorf("then it is told of %s: %+v", e.Type, e.Data)
	default:
	}
}
