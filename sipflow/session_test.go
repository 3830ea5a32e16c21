package sipflow

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"strings"
	"testing"

	"sipxrest/sipflow/sdp"

	pion "github.com/pion/sdp/v3"
)

// describer is a leg that only describes.
func describer() *Leg {
	return &Leg{id: 84, call: &Call{sw: &Switchboard{host: "10.0.0.1", seed: maphash.MakeSeed()}}}
}

// read is a description as another implementation reads it.
func read(t testing.TB, b []byte) *pion.SessionDescription {
	t.Helper()
	var d pion.SessionDescription
	if err := d.Unmarshal(b); err != nil {
		t.Fatalf("%v:\n%s", err, b)
	}
	return &d
}

const twoStreams = "v=0\r\no=root 1 0 IN IP4 10.0.0.3\r\ns=-\r\ni=info\r\nu=http://x/\r\ne=a@b\r\nc=IN IP4 10.0.0.3\r\nb=AS:64\r\nt=0 " +
	"0\r\na=group:BUNDLE 1 2\r\na=x-odd\r\n" +
	"m=audio 5000 RTP/AVP 0 8\r\na=mid:1\r\na=rtpmap:0 PCMU/8000\r\nm=video 5002 RTP/AVP 96\r\nc=IN IP4 10.0.0.4\r\na=mid:2\r\na=rtpmap:96 " +
	"H264/90000\r\n"

func TestDescribeKeepsAllButTheOrigin(t *testing.T) {
	rest := strings.SplitN(twoStreams, "\r\n", 3)[2]
	for _, tc := range []struct{ name, body string }{
		{"usual", twoStreams},
		{"line feeds only", strings.ReplaceAll(twoStreams, "\r\n", "\n")},
		{"an empty line at the end", twoStreams + "\r\n"},
		{"without the last line end", strings.TrimSuffix(twoStreams, "\r\n")},
		{"version 0", twoStreams},
		{"ids beyond 64 bits", strings.Replace(twoStreams, "root 1 0", "- 99999999999999999999 18446744073709551616", 1)},
		{"no number", strings.Replace(twoStreams, "root 1 0", "- id version", 1)},
		{"two origins", strings.Replace(twoStreams, "s=-", "o=root 2 0 IN IP4 10.0.0.3\r\ns=-", 1)},
		{"no origin", strings.Replace(twoStreams, "o=root 1 0 IN IP4 10.0.0.3\r\n", "", 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := string(describer().describe([]byte(tc.body)))
			if want := "v=0\r\no=- 42 1 IN IP4 10.0.0.1\r\n" + rest; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			read(t, []byte(got))
		})
	}
}

func TestDescribePassesOnWhatIsNoSDP(t *testing.T) {
	for _, body := range []string{"", "\r\n", "hello", "{}", "o=- 1 1 IN IP4 10.0.0.1\r\nv=0\r\n", "\x00\xff"} {
		if got := string(describer().describe([]byte(body))); got != body {
			t.Errorf("%q became %q", body, got)
		}
	}
}

func TestVersionRisesOnlyWithAChange(t *testing.T) {
	l := describer()
	version := func(b []byte) uint64 { return read(t, b).Origin.SessionVersion }
	for i, tc := range []struct {
		body string
		want uint64
	}{
		{twoStreams, 1},
		{twoStreams, 1},
		{strings.Replace(twoStreams, "root 1 0", "root 1 7", 1), 1}, // the phone's own version is not ours
		{strings.Replace(twoStreams, "a=mid:2\r\n", "a=mid:2\r\na=sendonly\r\n", 1), 2},
		{twoStreams, 3},
	} {
		if got := version(l.describe([]byte(tc.body))); got != tc.want {
			t.Errorf("description %d has version %d, want %d", i, got, tc.want)
		}
	}
	if got := version(l.answerTo([]byte(twoStreams), []byte(twoStreams))); got != 3 {
		t.Errorf("an answer that says the same has version %d, want 3", got)
	}
}

func TestStreamsAreNeverFewer(t *testing.T) {
	l := describer()
	one := sdpOf(5000)
	count := func(b []byte) int { return len(read(t, b).MediaDescriptions) }
	if n := count(l.describe([]byte(one))); n != 1 {
		t.Errorf("%d streams, want 1", n)
	}
	if n := count(l.answerTo([]byte(twoStreams), []byte(twoStreams))); n != 2 {
		t.Errorf("%d streams, want 2", n)
	}
	again := read(t, l.describe([]byte(one)))
	if len(again.MediaDescriptions) != 2 || again.MediaDescriptions[1].MediaName.Port.Value != 0 {
		t.Errorf("the second stream is not refused: %+v", again.MediaDescriptions)
	}
	l.peer.media = 3 // answered by the reader
	if n := count(l.describe([]byte(one))); n != 3 {
		t.Errorf("%d streams, want 3", n)
	}
}

func TestAnswerHasTheStreamsOfItsOffer(t *testing.T) {
	streams := func(n int, end string) []byte {
		b := []byte("v=0" + end + "o=- 1 1 IN IP4 10.0.0.2" + end + "s=-" + end + "c=IN IP4 10.0.0.2" + end + "t=0 0" + end)
		for i := range n {
			b = fmt.Appendf(b, "m=audio %d RTP/AVP 0%sa=x%d%s", 4000+2*i, end, i, end)
		}
		return b
	}
	for offer := range 4 {
		for answer := range 4 {
			for _, end := range []string{"\r\n", "\n"} {
				got := sdp.Fit(streams(answer, end), streams(offer, end))
				d := read(t, got)
				if len(d.MediaDescriptions) != offer {
					t.Errorf("offer of %d, answer of %d: %d streams", offer, answer, len(d.MediaDescriptions))
				}
				for i, m := range d.MediaDescriptions {
					if used := m.MediaName.Port.Value != 0; used != (i < answer) {
						t.Errorf("offer of %d, answer of %d: stream %d has port %d", offer, answer, i, m.MediaName.Port.Value)
					}
				}
			}
		}
	}
}

func TestRefuse(t *testing.T) {
	b := describer().refuse([]byte(twoStreams))
	d := read(t, b)
	if len(d.MediaDescriptions) != 2 {
		t.Fatalf("%d streams, want 2:\n%s", len(d.MediaDescriptions), b)
	}
	for i, m := range d.MediaDescriptions {
		if m.MediaName.Port.Value != 0 || len(m.Attributes) != 0 || m.MediaName.Media != []string{"audio", "video"}[i] {
			t.Errorf("stream %d is %+v", i, m)
		}
	}
	if got := describer().refuse([]byte("junk")); got != nil {
		t.Errorf("junk was answered %q", got)
	}
}

func TestTargetThatMoves(t *testing.T) {
	for _, tc := range []struct {
		name         string
		d            dialog
		moved        bool
		target, next string
		routes       string
	}{
		{"without routes", dialog{target: "sip:a@1", next: "sip:a@1"}, true, "sip:b@2", "sip:b@2", ""},
		{"behind a loose router", dialog{target: "sip:a@1", next: "sip:p;lr", routes: "Route: <sip:p;lr>\r\n"}, false, "sip:b@2", "sip:p;lr",
			"Route: <sip:p;lr>\r\n"},
		{"behind a strict router", dialog{target: "sip:p", next: "sip:p", strict: true, routes: "Route: <sip:q;lr>\r\nRoute: <sip:a@1>\r\n"},
			false,
			"sip:p", "sip:p", "Route: <sip:q;lr>\r\nRoute: <sip:b@2>\r\n"},
		{"to where it is", dialog{target: "sip:b@2", next: "sip:b@2"}, false, "sip:b@2", "sip:b@2", ""},
	} {
		if moved := tc.d.retarget("sip:b@2"); moved != tc.moved || tc.d.target != tc.target || tc.d.next != tc.next || tc.d.routes != tc.routes {
			t.Errorf("%s: %v %+v", tc.name, moved, tc.d)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	for _, s := range []string{twoStreams, sdpOf(1), "v=0", "v=0\n", "v=0\nm=", "v=0\r\nm=audio\r\n\r\no=\n", "", "m=", "v=0\rv=0\n"} {
		f.Add([]byte(s), []byte(twoStreams))
	}
	f.Fuzz(func(t *testing.T, body, offer []byte) {
		l := describer()
		l.describe([]byte(twoStreams))
		_, media, ok := sdp.Split(body)
		first := l.describe(body)
		if !ok {
			if !bytes.Equal(first, body) {
				t.Fatalf("%q is no SDP and became %q", body, first)
			}
			return
		}
		if _, n, ok := sdp.Split(first); !ok || n != max(media, 2) {
			t.Fatalf("%d streams became %d", media, n)
		}
		if bytes.Count(first, []byte("\no=")) != 1 {
			t.Fatalf("not one origin: %q", first)
		}
		if again := l.describe(first); !bytes.Equal(again, first) {
			t.Fatalf("the same again became %q, then %q", first, again)
		}
		if _, want, ok := sdp.Split(offer); ok {
			if _, n, _ := sdp.Split(l.answerTo(offer, body)); n != want {
				t.Fatalf("an offer of %d streams was answered with %d", want, n)
			}
			if _, n, _ := sdp.Split(l.refuse(offer)); n != want {
				t.Fatalf("an offer of %d streams was refused with %d", want, n)
			}
		}
	})
}
