package digest

import (
	"strings"
	"testing"
	"time"
)

func TestANonceNamesItsNode(t *testing.T) {
	now := time.Unix(1, 0)
	n := NewNonces(now)
	nonce := WithIssuer(n.Issue("1", now), "node-a_1")
	bare, node, ok := CutIssuer(nonce)
	if !ok || node != "node-a_1" {
		t.Fatalf("%q is of %q, %v", nonce, node, ok)
	}
	if _, good := n.Verify(bare, "1", now); !good {
		t.Error("the nonce is not good any more")
	}
	for _, wrong := range []string{n.Issue("1", now), "x.", "x.a.b", "x.a b", "x.*", "x." + strings.Repeat("a", maxIssuer+1), "x.\u00e4"} {
		if _, node, ok := CutIssuer(wrong); ok {
			t.Errorf("%q is of node %q", wrong, node)
		}
	}
}
