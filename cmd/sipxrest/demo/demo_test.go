package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDemoConnectsThePhonesAndExplainsIt(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out strings.Builder
	if err := Run(t.Context(), Options{}, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		"curl -k -u 201:1234 -X POST https://127.0.0.1:",
		"<status-line>SIP/2.0 407 Proxy Authentication Required</status-line>",
		"<status-line>SIP/2.0 180 Ringing</status-line>",
		"   </status-lines>\n",
		"yes  202 was called by 201",
		"yes  201 and 202 are talking to each other",
		"yes  sipxrest has hung up its own call with 201",
		"/v1. `sipxrest demo --keep` prints commands and an API key for it.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if n := strings.Count(out.String(), "<?xml"); n != 1 {
		t.Errorf("the document begins %d times", n)
	}
	if left, _ := filepath.Glob(os.TempDir() + "/*"); len(left) != 0 {
		t.Errorf("files are left: %v", left)
	}
}

// board collects output and lets a test wait for a line of it.
type board struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func (b *board) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.text.Write(p)
}

func (b *board) waitFor(ctx context.Context, t *testing.T, re string) []string {
	t.Helper()
	for {
		b.mu.Lock()
		text, changed := b.text.String(), b.changed
		b.mu.Unlock()
		if m := regexp.MustCompile(re).FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%q does not come in\n%s", re, text)
		}
	}
}

func TestDemoKeepsRunningForCallsByCurl(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	out := &board{changed: make(chan struct{})}
	ended := make(chan error, 1)
	run, end := context.WithCancel(ctx)
	defer end()
	go func() { ended <- Run(run, Options{Keep: true}, out) }()
	out.waitFor(ctx, t, "curl --digest -u 201:1234 -X POST http://127.0.0.1")
	url := out.waitFor(ctx, t, `-X POST (https://\S+)`)[1]
	out.waitFor(ctx, t, "What the phones see:")

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	// The other way round: 201 has been referred to 202 a moment ago.
	url = strings.Replace(url, "/201/202", "/202/201?agent=201", 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("201", pin)
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Error(res.Status)
	}
	out.waitFor(ctx, t, `202  <- INVITE`)
	out.waitFor(ctx, t, `202  <- REFER`)
	out.waitFor(ctx, t, `202  <- 200 OK`)
	out.waitFor(ctx, t, `202  -> ACK`)
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The checks at the end must see what went wrong: here 202 refuses.
func TestDemoFailsIfThePhonesAreNotConnected(t *testing.T) {
	var out strings.Builder
	s, err := newStage(t.Context(), nil, &out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	s.called.change(func() { s.called.status = 486 })
	if err := s.call(t.Context()); !errors.Is(err, ErrNotConnected) || !strings.Contains(out.String(), "SIP/2.0 486 Busy Here") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestDemoEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	cancel(why)
	if err := Run(ctx, Options{}, &strings.Builder{}); !errors.Is(err, why) {
		t.Error(err)
	}
}
