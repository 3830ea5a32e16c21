package restauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sipxrest/internal/digest"
)

// node is one of several gates. Each answers the others.
type node struct {
	name  string
	gates map[string]*harness
	asked *int
}

func (n node) Name() string { return n.name }

func (n node) Ask(ctx context.Context, to, op string, data []byte) ([]byte, error) {
	*n.asked++
	g := n.gates[to]
	if g == nil || op != NonceOp {
		return nil, errors.New("nobody answers")
	}
	return g.UseNonce(ctx, data)
}

// nodes are gates of one cluster, and a listener of each.
func nodes(t *testing.T, names ...string) (gates map[string]*harness, doors map[string]http.Handler, asked *int) {
	t.Helper()
	gates, doors, asked = map[string]*harness{}, map[string]http.Handler{}, new(int)
	shared := &clock{}
	for _, name := range names {
		g := newGate(t, Config{Others: node{name, gates, asked}, Now: shared.now})
		gates[name] = g
		doors[name] = g.on(TrustedOrPIN, true)
	}
	// Every failure is told to the others.
	hear := map[string]func([]byte){}
	for name, g := range gates {
		hear[name] = g.Guesses().Share(shared.now, func(data []byte) {
			for other, f := range hear {
				if other != name {
					f(data)
				}
			}
		})
	}
	return gates, doors, asked
}

// §15.10: a nonce is good at each node, and each of its counts at one of them.
func TestANonceIsUsedOnceInTheWholeCluster(t *testing.T) {
	_, doors, asked := nodes(t, "a", "b", "c")
	nonce := challenged(t, doors["a"])
	if !strings.HasSuffix(nonce, digest.WithIssuer("", "a")) {
		t.Fatalf("the nonce %q does not name its node", nonce)
	}
	try := func(at string, nc int) *http.Response {
		r := request("GET", "/callcontroller/201/202")
		return do(doors[at], with(r, digestFor(r, nonce, nc).String()))
	}
	wantBody(t, try("b", 1), 200, "hello 201")
	wantBody(t, try("a", 1), 401, bodyStale) // the same response at the issuing node
	wantBody(t, try("c", 1), 401, bodyStale)
	wantBody(t, try("c", 2), 200, "hello 201")
	wantBody(t, try("a", 3), 200, "hello 201")
	wantBody(t, try("b", 3), 401, bodyStale)
	if *asked != 4 {
		t.Errorf("the node that issued the nonce was asked %d times, want 4", *asked)
	}
	if res := try("b", 2); res.StatusCode != 401 || !strings.Contains(res.Header.Get("WWW-Authenticate"), "stale=true") {
		t.Errorf("a used count gets %v", res.Header)
	}
}

// Without the node that has issued a nonce the client gets another one, and no PIN is
// counted as wrong.
func TestANonceOfAGoneNodeIsStale(t *testing.T) {
	gates, doors, _ := nodes(t, "a", "b")
	nonce := challenged(t, doors["a"])
	delete(gates, "a")
	for i := range 15 {
		r := request("GET", "/callcontroller/201/202")
		res := do(doors["b"], with(r, digestFor(r, nonce, i+1).String()))
		wantBody(t, res, 401, bodyStale)
		if fresh := nonceOf(t, res); !strings.HasSuffix(fresh, digest.WithIssuer("", "b")) {
			t.Fatalf("the fresh nonce is %q", fresh)
		}
	}
}

// Who does not know the PIN has no node asked, whatever its nonce names.
func TestStrangersHaveNoNodeAsked(t *testing.T) {
	_, doors, asked := nodes(t, "a", "b")
	for _, nonce := range []string{digest.WithIssuer("x", "a"), digest.WithIssuer("x", "b"), digest.WithIssuer(strings.Repeat("x", 43),
		"a"), challenged(t, doors["a"])} {
		r := request("GET", "/callcontroller/201/202")
		d := digestFor(r, nonce, 1)
		d.pin = "124"
		wantBody(t, do(doors["b"], with(r, d.String())), 401, bodyMismatch)
	}
	for _, nonce := range []string{"x.a.b", "x.", "x", "x.> *"} { // with the PIN: no name of a node
		r := request("GET", "/callcontroller/201/202")
		wantBody(t, do(doors["b"], with(r, digestFor(r, nonce, 1).String())), 401, bodyStale)
	}
	if *asked != 0 {
		t.Errorf("nodes were asked %d times", *asked)
	}
}

// §15.10: of 12 wrong PINs over three nodes the last two are 429.
func TestWrongPINsOfAllNodesCount(t *testing.T) {
	_, doors, _ := nodes(t, "a", "b", "c")
	var got []string
	for i := range 12 {
		r := request("GET", "/callcontroller/201/202")
		r.SetBasicAuth("201", "guess")
		got = append(got, fmt.Sprint(do(doors[string(rune('a'+i%3))], r).StatusCode))
	}
	if want := strings.TrimSpace(strings.Repeat("401 ", 10)) + " 429 429"; strings.Join(got, " ") != want {
		t.Errorf("the statuses are %v", got)
	}
}

func TestWhatNodesAskIsBounded(t *testing.T) {
	gates, _, _ := nodes(t, "a")
	for _, data := range []string{"", "{", "null", `{"nonce":7}`, `{"nonce":"x","scope":"y","count":-1}`, strings.Repeat(" ",
		maxNonceUse) + "{}"} {
		if answer, err := gates["a"].UseNonce(t.Context(), []byte(data)); err != nil || string(answer) != nonceStale {
			t.Errorf("%.20q is answered by %q, %v", data, answer, err)
		}
	}
}
