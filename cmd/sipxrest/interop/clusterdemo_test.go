//go:build interop

package interop

import (
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// What `make demo-cluster` shows comes true, and it leaves nothing behind.
func TestDemoOfAClusterKeepsTheCall(t *testing.T) {
	t.Parallel()
	out, left, err := lab.Bare(t).Demo("--cluster")
	if err != nil {
		t.Errorf("%v", err)
	}
	for _, want := range []string{
		"curl -k -u 201:123",
		"yes  201 and 202 talk",
		"yes  the third node tells the state of the call, too",
		"kill -9 ",
		"has told both phones that it is their other side now",
		"yes  nobody has noticed",
		"yes  201 dials a digit, and 202 gets it through node ",
		"yes  both phones have hung up",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if len(left) != 0 {
		t.Errorf("files are left: %v", left)
	}
	if t.Failed() {
		t.Log(out)
	}
}
