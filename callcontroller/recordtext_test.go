package callcontroller

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sipxrest/schema"
)

// What a call that is over tells is what it told while it lasted.
func TestPackedLinesAreTheLines(t *testing.T) {
	some := []string{"", "x", "INVITE", "NOTIFY", "SIP/2.0 200 OK", strings.Repeat("é", maxText/2), "a\r\nb"}
	pick := func() string { return some[rand.IntN(len(some))] }
	for range 1000 {
		var lines []line
		var want []schema.StatusLine
		for range rand.IntN(firstLines + lastLines + 1) {
			l := line{at: rand.Int64() - rand.Int64(), callID: pick(), method: pick(), text: pick()}
			lines = append(lines, l)
			want = append(want, schema.StatusLine{At: time.UnixMilli(l.at), CallID: l.callID, Method: l.method, Text: l.text})
		}
		if diff := cmp.Diff(want, unpack(nil, pack(lines))); diff != "" {
			t.Fatal(diff)
		}
	}
}
