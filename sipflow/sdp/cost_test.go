package sdp

import (
	"strings"
	"testing"
	"time"
)

// Anybody may send a message of 64 KB. What it takes to read grows with its length, not
// with the square of that: a reader holds up all others meanwhile.
func TestReadingCostsAsMuchAsThereIs(t *testing.T) {
	lines := func(n int, parts ...string) []byte { // as many bytes of each part
		b := head
		for _, part := range parts {
			b += strings.Repeat(part, n/len(parts)/len(part))
		}
		return []byte(b)
	}
	const stream = "m=a 1 RTP/AVP 0\r\n"
	for name, read := range map[string]func(n int){
		"formats of a stream": func(n int) {
			offer := head + "m=audio 5000 RTP/AVP" + strings.Repeat(" 0", n/4)
			Hold([]byte(offer+"\r\n"+strings.Repeat("a=fmtp:1 \r\n", n/2/11)), "10.0.0.1", key)
		},
		"lines above the streams": func(n int) { SecurityOf(lines(n, "a=x\r\n", stream)) },
		"addresses above the streams": func(n int) {
			body := strings.Replace(string(lines(n, "a=x\r\n", stream)), "c=IN IP4 10.0.0.2\r\n", "", 1)
			ForAnother([]byte(body), lines(n, "a=x\r\n", stream))
		},
		"parameters": func(n int) {
			Body{Type: []byte("multipart/mixed" + strings.Repeat(";", n) + "x="), Content: []byte("x")}.Read()
		},
		"parameters of a disposition": func(n int) {
			Body{Type: []byte("text/plain"), Disposition: []byte(strings.Repeat(";x", n/2) + "="), Content: []byte("x")}.Read()
		},
	} {
		quickest := func(n int) time.Duration {
			best := time.Hour
			for range 5 {
				began := time.Now()
				read(n)
				best = min(best, time.Since(began))
			}
			return best
		}
		if small, large := quickest(4000), quickest(64000); large > 64*small {
			t.Errorf("%s: 4,000 bytes take %v, 64,000 take %v", name, small, large)
		}
	}
}
