// Package flowtest holds what tests of call flows need of package testing:
// golden ladders and the loss of each message in turn. It is apart from
// siptest because a program that uses phones should not link package testing.
//
// It registers the test flag -update, which rewrites the golden files.
package flowtest

import (
	"flag"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"sipxrest/sipflow/siptest"
)

var update = flag.Bool("update", false, "rewrite testdata/flows/*.golden")

// seed differs for each run, so that Share's parts do.
var seed = maphash.MakeSeed()

// Share is n when the race detector runs, which makes everything ten times as slow,
// else 1: what repeats the same code in many ways does an nth part of it then.
// All of it runs without the detector in the same `make test`.
func Share(n int) int {
	if raceDetector {
		return n
	}
	return 1
}

// Golden compares a ladder with testdata/flows/NAME.golden in the folder of
// the test, or writes that file if the test runs with -update.
func Golden(t testing.TB, name, ladder string) {
	t.Helper()
	file := filepath.Join("testdata", "flows", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(ladder), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run the test with -update to write it)", err)
	}
	if diff := cmp.Diff(string(want), ladder); diff != "" {
		t.Errorf("the ladder is not %s (-want +got; -update rewrites it):\n%s", file, diff)
	}
}

// Ladder runs a scenario in a bubble of testing/synctest, as LoseEach does, and
// compares its ladder with the golden file of that name; an empty name is for
// one that differs each time.
func Ladder(t *testing.T, name string, run func(t *testing.T, n *siptest.Network)) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		run(t, n)
		if name != "" {
			Golden(t, name, n.Ladder())
		}
		if t.Failed() {
			t.Log(n.Ladder())
		}
	})
	if Also != nil {
		Also(t, name, run)
	}
}

// Also, when it is set, runs each scenario of Ladder again in another way.
var Also func(t *testing.T, name string, run func(t *testing.T, n *siptest.Network))

// LoseEach runs a scenario in a bubble of testing/synctest once undisturbed,
// and then once more for each message of that run, which is lost. run makes
// everything anew on the network that it gets, and closes it; it should check
// what must hold in spite of the loss. With the race detector, see Share, it
// loses some of the messages, other ones in other tests.
func LoseEach(t *testing.T, run func(t *testing.T, n *siptest.Network)) {
	var messages []siptest.Packet
	ok := t.Run("undisturbed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			run(t, n)
			messages = n.Packets()
		})
	})
	if !ok {
		return
	}
	share := Share(10)
	first := int(maphash.String(seed, t.Name()) % uint64(share))
	for i, lost := range messages {
		if lost.Transport != "UDP" || i%share != first {
			continue
		}
		name := fmt.Sprintf("lost %02d %s", lost.N, lost.Method())
		if s := lost.Status(); s != 0 {
			name = fmt.Sprintf("lost %02d %d of %s", lost.N, s, lost.Method())
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				n.Drop = func(p siptest.Packet) bool { return p.N == lost.N }
				run(t, n)
				if t.Failed() {
					t.Logf("ladder:\n%s", n.Ladder())
				}
			})
		})
	}
}
