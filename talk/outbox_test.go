package talk

import (
	"fmt"
	"strings"
	"testing"
)

// What may have been lost goes before what has waited, but not behind what is
// newer.
func TestOrderAfterResuming(t *testing.T) {
	o := newOutbox()
	for _, it := range []*item{{data: []byte("ringing b"), callID: "b"}, {data: []byte("add b")}, {data: []byte("cleared c"), callID: "c",
		terminal: true}} {
		if err := o.put(it); err != nil {
			t.Fatal(err)
		}
	}
	again := []*item{{data: []byte("ringing c"), callID: "c"}, {data: []byte("connected a"), callID: "a"}}
	o.resume(again)
	var got []string
	for it := o.next(); it != nil; it = o.next() {
		got = append(got, string(it.data))
		o.done(true)
	}
	if want := "connected a, ringing b, add b, cleared c"; strings.Join(got, ", ") != want {
		t.Errorf("sent %q, want %s", got, want)
	}
}

func TestMembersAreBounded(t *testing.T) {
	r := &Room{session: &Session{}, link: &link{}, members: map[string]*member{}}
	var joined strings.Builder
	for i := range maxMembers + 5 {
		fmt.Fprintf(&joined, `,{"sessionid":"s%d"}`, i)
	}
	r.came([]byte("[" + joined.String()[1:] + "]"))
	if n := len(r.members); n != maxMembers {
		t.Errorf("%d are remembered", n)
	}
}
