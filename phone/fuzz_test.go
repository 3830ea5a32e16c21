package phone

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"testing/iotest"
)

// What is passed on is exactly as long as the samples that it announces, byte
// for byte what came, and nothing else is.
func FuzzAudio(f *testing.F) {
	for _, seed := range []string{"", "abc", audio(0, 0), audio(1, 1), audio(320, 7), audio(8190, 1), audio(8191, 1), audio(2, 1)[:7],
		"\xff\xff\xff\x7f\x00", "\x00\x00\x00\x80"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		want := len(message) >= 4 && len(message) <= maxMessage && len(message) == 4+2*int(binary.LittleEndian.Uint32(message))
		if got := isAudio(message); got != want {
			t.Fatalf("%d bytes: %v", len(message), got)
		}
		var sums relayed
		a, b := newLeg(&sums), newLeg(&sums)
		a.peer.Store(b)
		fr := newFrame()
		err := fr.read(iotest.HalfReader(bytes.NewReader(message)))
		if (err != nil) != (len(message) > maxMessage) {
			t.Fatalf("%d bytes: %v", len(message), err)
		}
		if err != nil {
			return
		}
		a.hear(fr)
		_, heard, _ := b.take()
		if (heard != nil) != want || heard != nil && !bytes.Equal(heard.data, message) {
			t.Fatalf("%d bytes: %v", len(message), heard)
		}
		a.end()
		b.end()
	})
}

// A path is a route's or nobody's, and an ID is read in one form only.
func FuzzPath(f *testing.F) {
	for _, r := range routes {
		f.Add(Prefix + strings.ReplaceAll(strings.Replace(r.path, "**", "a/b", 1), "*", callA))
	}
	for _, seed := range []string{"", "/api/v3", "/api/v3/phone/answer/", "/api/v3/phone/answer/" + callA[1:],
		"/api/v3/phone/answer/" + callA + "/", "/api/v3//", "/api/v3/users/\xff/favorite"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, args := find(path)
		if r == nil {
			return
		}
		if strings.Count(strings.Replace(r.path, "**", "*", 1), "*") != len(args) || !strings.HasPrefix(path, Prefix) {
			t.Fatalf("%q: %s, %q", path, r.path, args)
		}
		for _, a := range args {
			id, ok := ParseID(a)
			if ok && (id.String() != strings.ToUpper(a) || len(a) != 36) {
				t.Fatalf("%q is read as %v", a, id)
			}
			if again, same := ParseID(id.String()); !same || again != id {
				t.Fatalf("%v is not read again", id)
			}
		}
	})
}
