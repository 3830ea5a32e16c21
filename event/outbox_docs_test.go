package event

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/internal/webhook"
)

// The receivers of the page of webhooks take what an outbox sends, and nothing else.
func TestReceiversOfTheDocumentsTakeWhatIsSent(t *testing.T) {
	for _, tt := range []struct {
		file, program string
		args          []string
	}{
		{"receiver.py", "python3", nil},
		{"receiver.mjs", "node", nil},
		{"receiver.php", "php", []string{"-S", "127.0.0.1:PORT"}},
	} {
		t.Run(tt.program, func(t *testing.T) {
			program, err := exec.LookPath(tt.program)
			if err != nil {
				t.Skip(tt.program + " is not installed (make setup does it)")
			}
			old, secret := webhook.NewSigningKey(), webhook.NewSigningKey()
			r := runReceiver(t, program, append(tt.args, filepath.Join("..", "examples", "webhooks", tt.file)),
				old.Secret()+" "+secret.Secret())
			bus, err := Open(Config{Store: "memory", Strict: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			o, err := NewOutbox(OutboxConfig{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Wait: time.Millisecond}, bus,
				slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = bus.Run(ctx) })
			running.Go(func() { o.Run(ctx) })
			defer func() { cancel(); running.Wait(); bus.Close() }()
			hook := func(name, text string) Webhook {
				spec := WebhookSpec{Name: name, URL: r.url, Events: []string{"call.*"}}
				spec.Complete()
				w, _, err := o.Create(spec, "", text, Cursor{})
				if err != nil {
					t.Fatal(err)
				}
				return w
			}
			right, wrong := hook("right", secret.Secret()), hook("wrong", webhook.NewSigningKey().Secret())
			if err := bus.Begin(Request{ID: "call-000000000001", Created: Created{Kind: ClickToCall, Source: FromAPI, Agent: "201@example.com",
				State: Calling,
				Legs:  []Leg{{ID: "l1", Role: RoleCalling, Address: "201@example.com", State: LegPending}}}}); err != nil {
				t.Fatal(err)
			}
			r.wait("call.created call-000000000001 calling")
			if got, err := o.Test(ctx, right.ID, false); err != nil || !got.Taken {
				t.Errorf("%+v %v", got, err)
			}
			r.wait("webhook.test")
			if got, err := o.Test(ctx, wrong.ID, false); err != nil || got.Taken || got.Attempt.Status != http.StatusUnauthorized {
				t.Errorf("signed by another secret: %+v %v", got, err)
			}
			for name, at := range map[string]time.Time{"old": time.Now().Add(-6 * time.Minute), "early": time.Now().Add(6 * time.Minute)} {
				if status := r.post(secret, "evt_abc123_1_1", at, "{}", "{}"); status != http.StatusUnauthorized {
					t.Errorf("%s: %d", name, status)
				}
			}
			if status := r.post(secret, "evt_abc123_1_1", time.Now(), `{"type":"call.ended"}`,
				`{"type":"call.endet"}`); status != http.StatusUnauthorized {
				t.Errorf("changed: %d", status)
			}
			const twice = `{"id":"evt_abc123_1_2","type":"call.ended","data":{"call":null}}`
			for range 2 {
				if status := r.post(old, "evt_abc123_1_2", time.Now(), twice, twice); status != http.StatusNoContent {
					t.Errorf("by the secret before: %d", status)
				}
			}
		})
	}
}

// program is a receiver that runs.
type program struct {
	t     *testing.T
	url   string
	lines chan string
}

var portOf = regexp.MustCompile(`listening on (\d+)|http://127\.0\.0\.1:(\d+)\)? started`)

func runReceiver(t *testing.T, name string, args []string, secret string) *program {
	t.Helper()
	for i := range args {
		if strings.HasSuffix(args[i], ":PORT") { // php says 0 for the port it has got
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			args[i] = l.Addr().String()
			l.Close()
		}
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PORT=0", "WEBHOOK_SECRET="+secret)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, lines: make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-done; _ = cmd.Wait() })
	m := portOf.FindStringSubmatch(p.wait("listening on ", "started"))
	p.url = "http://127.0.0.1:" + m[1] + m[2] + "/hooks"
	return p
}

// wait waits for a line that has one of some texts.
func (p *program) wait(texts ...string) string {
	p.t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("it has ended before it said %q", texts)
			}
			for _, text := range texts {
				if strings.Contains(line, text) {
					return line
				}
			}
		case <-late:
			p.t.Fatalf("it did not say %q", texts)
		}
	}
}

// post sends a body with the signature of another.
func (p *program) post(k webhook.SigningKey, id string, at time.Time, signed, body string) int {
	p.t.Helper()
	q, err := http.NewRequest(http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	webhook.SignStandard(q.Header, id, at, []byte(signed), false, k)
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := transport.RoundTrip(q)
	if err != nil {
		p.t.Fatal(fmt.Errorf("%s: %w", p.url, err))
	}
	answer.Body.Close()
	return answer.StatusCode
}
