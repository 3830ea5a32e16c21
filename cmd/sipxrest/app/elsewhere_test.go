package app

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sipxrest/cluster"
	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/internal/await"
	"sipxrest/internal/digest"
	"sipxrest/sipflow/siptest"
)

// trio are three nodes of one cluster at one store, with the phone that all calls go to.
type trio struct {
	t     *testing.T
	nodes []*service
	phone *siptest.Phone
}

// newTrio starts three nodes that know each other.
func newTrio(t *testing.T, script siptest.Script, change func(*config.Config)) *trio {
	t.Helper()
	r := &trio{t: t}
	var proxy string
	r.phone, proxy = apptest.Phone(t, script)
	kept := newStore(t)
	for _, name := range []string{"a", "b", "c"} {
		cfg := nodeOf(t, name, kept.Addr(), proxy)
		cfg.API.Enabled = true
		if change != nil {
			change(&cfg)
		}
		r.nodes = append(r.nodes, start(t, cfg))
	}
	for _, s := range r.nodes {
		await.Nil(t, s.ready)
		await.Nil(t, func() error {
			live := 0
			for _, m := range s.cluster.Members() {
				if m.State == "live" {
					live++
				}
			}
			if live != len(r.nodes) {
				return fmt.Errorf("%d nodes of three are known", live)
			}
			return nil
		})
	}
	return r
}

// ask sends a request to a node: by TLS, or where change makes it another's, as user 201.
func (r *trio) ask(node int, method, path, body string, change ...func(*http.Request)) (*http.Response, string) {
	r.t.Helper()
	s := r.nodes[node]
	req, err := http.NewRequest(method, s.Addrs()[0]+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth("201", "123")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, f := range change {
		f(req)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(text)
}

// wants is ask for a status.
func (r *trio) wants(status, node int, method, path, body string, change ...func(*http.Request)) string {
	r.t.Helper()
	resp, text := r.ask(node, method, path, body, change...)
	if resp.StatusCode != status {
		r.t.Fatalf("%s %s at %s: %d %s, want %d", method, path, r.nodes[node].cfg.Cluster.Node, resp.StatusCode, text, status)
	}
	return text
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// untrusted has every request need a PIN.
func untrusted(cfg *config.Config) { cfg.Trusted = nil }

const callOf201 = "/callcontroller/201/202"

// A call that one node has placed is shown, replaced and ended at each.
func TestAnyCallAtAnyNode(t *testing.T) {
	r := newTrio(t, siptest.Script{Ring: time.Minute}, nil)
	r.wants(200, 0, "POST", callOf201, "")
	var here string
	await.Nil(t, func() error {
		if here = r.wants(200, 0, "GET", callOf201, ""); !strings.Contains(here, "180 Ringing") {
			return errors.New("it does not ring")
		}
		return nil
	})
	own, _ := r.ask(0, "GET", callOf201, "")
	for node := range r.nodes {
		resp, text := r.ask(node, "GET", callOf201, "")
		if text != here || resp.Header.Get("Etag") != own.Header.Get("Etag") || resp.Header.Get("Sipxrest-Call-Id") == "" {
			t.Errorf("at node %d: %v %s, want %v %s", node, resp.Header, text, own.Header, here)
		}
		if resp, _ := r.ask(node, "GET", callOf201, "", with("If-None-Match", own.Header.Get("Etag"))); resp.StatusCode != 304 {
			t.Errorf("at node %d: %d for what the client has", node, resp.StatusCode)
		}
	}
	// By REFER a new call replaces it, at whichever node; its phone rings for one.
	r.wants(200, 1, "POST", callOf201, "")
	await.Nil(t, func() error {
		if n := r.phone.Dialogs(); n > 1 {
			return fmt.Errorf("the phone has %d calls", n)
		}
		return nil
	})
	again, _ := r.ask(2, "GET", callOf201, "")
	if again.Header.Get("Etag") == own.Header.Get("Etag") {
		t.Error("the third node shows the call that was replaced")
	}
	r.wants(200, 2, "DELETE", callOf201, "")
	await.Nil(t, func() error {
		if !r.phone.OnHook() {
			return errors.New("the phone is not on hook")
		}
		return nil
	})
	for node := range r.nodes {
		await.Nil(t, func() error { // its end is on its way into the store
			if text := r.wants(200, node, "GET", callOf201, ""); !strings.Contains(text, "487 Request Terminated") {
				return fmt.Errorf("at node %d the end is not shown: %s", node, text)
			}
			return nil
		})
		r.wants(404, node, "DELETE", callOf201, "")
	}
}

// By INVITE the first call stays, at whichever node the second is asked for.
func TestACallByINVITEStaysWhereItIs(t *testing.T) {
	r := newTrio(t, siptest.Script{}, nil)
	r.wants(200, 0, "POST", callOf201+"?sipMethod=invite", "")
	r.wants(406, 1, "POST", callOf201+"?sipMethod=invite", "")
	r.wants(200, 2, "DELETE", callOf201, "")
	await.Nil(t, func() error {
		resp, text := r.ask(1, "POST", callOf201+"?sipMethod=invite", "")
		if resp.StatusCode != 200 {
			return errors.New(text)
		}
		return nil
	})
	r.wants(200, 0, "DELETE", callOf201, "")
}

// The JSON API finds calls by their ids, and its keys place one call.
func TestAnyCallOfTheJSONAPIAtAnyNode(t *testing.T) {
	r := newTrio(t, siptest.Script{}, nil)
	const usual = `{"calling":"201","called":"202"}`
	statuses := make(chan string, len(r.nodes))
	for node := range r.nodes {
		go func() {
			resp, _ := r.ask(node, "POST", "/v1/calls", usual, with("Idempotency-Key", "k1"))
			statuses <- fmt.Sprint(resp.StatusCode) + resp.Header.Get("Location")
		}()
	}
	path := ""
	for range r.nodes {
		if status := <-statuses; strings.HasPrefix(status, "201/v1/calls/") {
			if path != "" {
				t.Errorf("two calls were placed")
			}
			path = status[3:]
		}
	}
	if path == "" {
		t.Fatal("no call was placed")
	}
	for node := range r.nodes {
		await.Nil(t, func() error {
			resp, text := r.ask(node, "POST", "/v1/calls", usual, with("Idempotency-Key", "k1"))
			if resp.StatusCode != 200 || resp.Header.Get("Location") != path || resp.Header.Get("Idempotency-Replayed") != "true" {
				return fmt.Errorf("the key at node %d: %d %s", node, resp.StatusCode, text)
			}
			return nil
		})
		await.Nil(t, func() error {
			if text := r.wants(200, node, "GET", path, ""); !strings.Contains(text, `"state":"connected"`) {
				return errors.New(text)
			}
			return nil
		})
	}
	for node := range r.nodes {
		r.wants(200, node, "POST", path+"/actions/mute", `{"leg":"calling"}`)
		r.wants(200, node, "POST", path+"/actions/unmute", `{"leg":"calling"}`)
	}
	r.wants(409, 1, "POST", "/v1/calls", usual)
	r.wants(200, 2, "DELETE", path, "")
	for node := range r.nodes {
		await.Nil(t, func() error {
			if text := r.wants(200, node, "GET", path, ""); !strings.Contains(text, `"state":"ended"`) {
				return errors.New(text)
			}
			return nil
		})
	}
}

// §15.10: 30 POSTs of one user over three nodes, of whom ten calls are allowed.
func TestAUsersLimitHoldsForAllNodes(t *testing.T) {
	r := newTrio(t, siptest.Script{Ring: time.Minute}, func(c *config.Config) {
		untrusted(c)
		c.Limits.CallsPerUser, c.Limits.CallRatePerUser = 10, 1000
	})
	got := map[int]int{}
	for i := range 30 {
		resp, text := r.ask(i%3, "POST", fmt.Sprintf("/callcontroller/201/%d", 300+i), "")
		got[resp.StatusCode]++
		if resp.StatusCode == 429 && (resp.Header.Get("Retry-After") != "5" || !strings.Contains(text, "limits.calls-per-user: 10")) {
			t.Errorf("429: %v %s", resp.Header, text)
		}
		if i%3 == 2 { // a second is what nodes need to know of each other
			time.Sleep(300 * time.Millisecond)
		}
	}
	over := 0
	for range 5 { // once all is told nobody gets in
		time.Sleep(300 * time.Millisecond)
	}
	for node := range r.nodes {
		resp, _ := r.ask(node, "POST", fmt.Sprintf("/callcontroller/201/%d", 400+node), "")
		if resp.StatusCode != 429 {
			over++
		}
	}
	// Within the second that the others need at most as many more come in.
	if got[200] < 10 || got[200] > 20 || got[200]+got[429] != 30 || over > 0 {
		t.Errorf("statuses %v, then %d more", got, over)
	}
}

// §15.10: a Digest response is good once, at whichever node.
func TestADigestResponseIsGoodAtOneNode(t *testing.T) {
	r := newTrio(t, siptest.Script{}, untrusted)
	proof := func(nonce string, nc int) func(*http.Request) {
		return func(req *http.Request) {
			ha1 := digest.MD5.HA1("201", "sipx.test", "123")
			ha2 := digest.MD5.Hash(req.Method + ":" + req.URL.RequestURI())
			count := fmt.Sprintf("%08x", nc)
			req.Header.Set("Authorization",
				fmt.Sprintf(`Digest username="201", realm="sipx.test", nonce="%s", uri="%s", qop=auth, nc=%s, cnonce="c", response="%s"`,
					nonce, req.URL.RequestURI(), count, digest.MD5.Hash(ha1+":"+nonce+":"+count+":c:auth:"+ha2)))
		}
	}
	nobody := func(req *http.Request) { req.Header.Del("Authorization") }
	challenge := func(node int) string {
		resp, _ := r.ask(node, "GET", callOf201, "", nobody)
		c, ok := digest.ParseChallenge(resp.Header.Get("WWW-Authenticate"))
		if resp.StatusCode != 401 || !ok {
			t.Fatalf("%d %v", resp.StatusCode, resp.Header)
		}
		return c.Nonce
	}
	nonce := challenge(0)
	var got []string
	for _, try := range []struct{ node, nc int }{{1, 1}, {2, 1}, {0, 1}, {2, 2}, {0, 3}, {1, 3}, {1, 4}} {
		resp, _ := r.ask(try.node, "GET", callOf201, "", proof(nonce, try.nc))
		stale := strings.Contains(resp.Header.Get("WWW-Authenticate"), "stale=true")
		if stale != (resp.StatusCode == 401) {
			t.Errorf("%d with %q", resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
		}
		got = append(got, fmt.Sprint(resp.StatusCode))
	}
	if want := "200 401 401 200 200 401 200"; strings.Join(got, " ") != want {
		t.Errorf("statuses %v, want %s", got, want)
	}
}

// §15.10: of 12 wrong PINs over three nodes the last are 429, at each node.
func TestWrongPINsCountAtAllNodes(t *testing.T) {
	r := newTrio(t, siptest.Script{}, untrusted)
	wrong := func(req *http.Request) { req.SetBasicAuth("201", "guess") }
	var got []int
	for i := range 12 {
		resp, _ := r.ask(i%3, "GET", callOf201, "", wrong)
		got = append(got, resp.StatusCode)
		if i < 9 { // told at once, which still takes a moment
			for _, s := range r.nodes {
				await.Nil(t, func() error {
					if n := s.gate.Guesses().Suspects(time.Now()); n != 2 {
						return fmt.Errorf("%d suspects", n)
					}
					return nil
				})
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if n := slices.Index(got, 429); n < 10 || n > 11 || got[11] != 429 {
		t.Errorf("statuses %v", got)
	}
	await.Nil(t, func() error {
		for node := range r.nodes {
			resp, _ := r.ask(node, "GET", callOf201, "")
			if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
				return fmt.Errorf("the right PIN at node %d: %d", node, resp.StatusCode)
			}
		}
		return nil
	})
}

// A stream ticket opens one stream, at whichever node.
func TestATicketIsGoodAtAnyNode(t *testing.T) {
	r := newTrio(t, siptest.Script{}, nil)
	text := r.wants(201, 0, "POST", "/v1/stream-tickets", `{}`)
	_, rest, _ := strings.Cut(text, `"ticket":"`)
	ticket, _, _ := strings.Cut(rest, `"`)
	nobody := func(req *http.Request) { req.Header.Del("Authorization") }
	got := map[int]int{}
	for node := range r.nodes {
		resp, _ := r.ask((node+1)%3, "GET", "/v1/events?ticket="+ticket, "", nobody)
		got[resp.StatusCode]++
	}
	if !maps.Equal(got, map[int]int{200: 1, 401: 2}) {
		t.Errorf("statuses %v", got)
	}
}

// While the node of a call is cut off its last state is shown, with its age; it cannot be
// ended then, and is once another node has it.
func TestACallWhoseNodeDies(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it takes as long as a lease, 5 s")
	}
	r := newTrio(t, siptest.Script{Ring: time.Minute}, func(c *config.Config) { c.Cluster.Takeover = cluster.TakeoverHangup })
	r.wants(200, 0, "POST", callOf201, "")
	await.Nil(t, func() error {
		if text := r.wants(200, 1, "GET", callOf201, ""); !strings.Contains(text, "180 Ringing") {
			return errors.New("it does not ring")
		}
		return nil
	})
	_ = r.nodes[0].clustered.engine.Close() // its connection, and no more of it than that
	aged := false
	await.Nil(t, func() error {
		resp, text := r.ask(1, "GET", callOf201, "")
		if resp.Header.Get("Age") != "" {
			aged = true
			if resp.StatusCode != 200 {
				t.Errorf("with an age: %d %s", resp.StatusCode, text)
			}
			if del, _ := r.ask(2, "DELETE", callOf201, ""); del.StatusCode != 503 && del.StatusCode != 200 && del.StatusCode != 404 ||
				del.StatusCode == 503 && del.Header.Get("Retry-After") != "5" {
				t.Errorf("DELETE: %d %v", del.StatusCode, del.Header)
			}
		}
		if !strings.Contains(text, "487 Request Terminated") {
			return errors.New(text)
		}
		return nil
	})
	if !aged {
		t.Error("no state was shown while the node was gone")
	}
}
