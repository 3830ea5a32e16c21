package callcontroller

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"sipxrest/sipflow"
)

// What is refused before it is handled is what Handler would refuse, in its words.
func TestCallsAreRefusedBeforeTheyAreHandled(t *testing.T) {
	b := newBench(t, Config{}, nil)
	var asked []string
	full := false
	b.admit = func(agent string) error {
		asked = append(asked, agent)
		if full {
			return &sipflow.LimitError{Limit: sipflow.LimitOverload, Wait: time.Second}
		}
		return nil
	}
	if answer, early := b.Early([]byte("POST"), []byte("/callcontroller/201/202?timeout=30")); answer != nil || !early {
		t.Errorf("with room: %q, asked %v", answer, early)
	}
	full = true
	answer, _ := b.Early([]byte("POST"), []byte("/callcontroller/201/202?agent=200"))
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
	if err != nil {
		t.Fatalf("%q: %v", answer, err)
	}
	body, _ := io.ReadAll(resp.Body)
	late := b.do("POST", "/callcontroller/201/202?agent=200")
	if resp.StatusCode != late.Code || string(body) != late.Body.String() ||
		resp.Header.Get("Retry-After") != late.Header().Get("Retry-After") ||
		resp.Header.Get("Content-Type") != late.Header().Get("Content-Type") {
		t.Errorf("early %d %v %s\nlate %d %v %s", resp.StatusCode, resp.Header, body, late.Code, late.Header(), late.Body)
	}
	n := len(asked)
	for _, of := range [][2]string{{"GET", "/callcontroller/201/202"}, {"DELETE", "/callcontroller/201/202"}, {"POST", "/"},
		{"POST", "/dialout"}, {"POST", "/callcontroller/201/202?action=transfer&target=203"},
		{"POST", "/callcontroller/201/202?%61ction=transfer"}, {"POST", "/callcontrollers/201/202"}} {
		if answer, early := b.Early([]byte(of[0]), []byte(of[1])); answer != nil || early {
			t.Errorf("%s: %q, asked %v", of, answer, early)
		}
	}
	if len(asked) != n {
		t.Errorf("asked about %q", asked[n:])
	}
}

// Nobody is asked twice about one request.
func TestACallIsAdmittedOnce(t *testing.T) {
	early := true
	b := newBench(t, Config{Asked: func(*http.Request) bool { return early }}, nil)
	asked := 0
	b.admit = func(string) error { asked++; return nil }
	b.do("POST", "/callcontroller/201/202")
	early = false
	b.do("POST", "/callcontroller/201/203")
	if asked != 1 || len(b.specs) != 2 {
		t.Errorf("asked %d times about %d calls", asked, len(b.specs))
	}
}
