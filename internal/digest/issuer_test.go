package digest

import (
	"strings"
	"testing"
	"time"
)

func TestANonceNamesItsNode(t *testing.T) {
	now := time.Unix(1, 0)
	n := NewNonces(now)
	for _, name := range []string{"a", "node-1.example.com", "Knoten ä", strings.Repeat("n", maxIssuer)} {
		nonce := WithIssuer(n.Issue("1", now), name)
		bare, node, ok := CutIssuer(nonce)
		if !ok || node != name {
			t.Fatalf("%q is of %q, %v", nonce, node, ok)
		}
		if _, good := n.Verify(bare, "1", now); !good {
			t.Error("the nonce is not good any more")
		}
	}
	for _, wrong := range []string{n.Issue("1", now), "x.", "x.YQ.YQ", "x.a b", "x.*", WithIssuer("x", strings.Repeat("a", maxIssuer+1)),
		"x.YR"} {
		if _, node, ok := CutIssuer(wrong); ok {
			t.Errorf("%q is of node %q", wrong, node)
		}
	}
}
