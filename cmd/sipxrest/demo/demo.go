// Package demo shows the service at work without any installation: it starts a
// SIP proxy, two phones that answer by themselves (one of them of an independent SIP
// stack) and the service, all on
// loopback and on free ports, places a call over HTTPS and explains it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Options are what a user may choose.
type Options struct {
	// Keep leaves everything running after the call, for calls by curl, until
	// the context ends.
	Keep bool
	// Log gets the service's own log; nil for none.
	Log *slog.Logger
}

// patience is how long the call may take, and the start before it.
const patience = 20 * time.Second

// settle is how long the phones may need to see what the document tells already.
const settle = 3 * time.Second

// talk is how long the phones talk to each other in calls by curl.
const talk = 15 * time.Second

// ErrNotConnected means that the call came to its end, but the phones did not
// come to talk to each other, or the service did not leave the call.
var ErrNotConnected = errors.New("the phones were not connected")

// Run plays the demo and explains it on out, whose errors are ignored:
//
//	POST → sipxrest → INVITE → 201 rings, answers
//	       sipxrest → REFER  → 201: "call 202"
//	                           201 → INVITE → 202 rings, answers
//	       sipxrest ← NOTIFY ← 201: "202 rings"
//	       sipxrest → BYE    → 201: its own call; 201 and 202 talk
//
// It returns nil only if 201 and 202 were connected with each other and the
// service had left the call. When it returns, everything is stopped and its
// files are removed.
func Run(ctx context.Context, opts Options, out io.Writer) (err error) {
	s, err := newStage(ctx, opts.Log, out)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.introduce()
	if err := s.call(ctx); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if opts.Keep {
		s.keep(ctx)
	} else {
		s.say("\nThe same is there as JSON, with events, webhooks and records: /v1. `sipxrest demo --keep` prints commands and an API key for it.")
	}
	return nil
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *stage) introduce() {
	s.say("sipxrest demo: one HTTP request makes two phones call each other.\n")
	s.say("1. A SIP proxy for the domain %s listens on udp:%s. It asks everybody for a password.", domain, s.proxy.Addr())
	s.say("2. The phones 201 and 202 have registered with it. Each rings for a second, then answers by itself. 202 runs on sipgo, another SIP stack.")
	s.say("3. sipxrest serves on %s (with a self-signed certificate) and on %s.", s.https, s.http)
}

// call places one call as a client would, and looks whether it came up.
func (s *stage) call(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done after %v", patience))
	defer cancel()
	s.say("4. The user 201, whose PIN is %s, asks for a call to 202:\n", pin)
	s.say("   %s\n", curl("-k", "POST", s.https))
	began := time.Now()
	if err := s.post(ctx); err != nil {
		return err
	}
	s.say("   200 OK: sipxrest calls 201. How the call goes can be read at any time, here it is as it grows:\n")
	s.say("   %s\n", curl("-k", "GET", s.https))
	if err := s.watch(ctx); err != nil {
		return err
	}
	s.say("\n5. What the phones say:\n")
	if !s.connected(ctx) {
		return fmt.Errorf("%w\n201 saw: %s\n202 saw: %s", ErrNotConnected,
			strings.Join(s.calling.Log(), ", "), strings.Join(s.called.Log(), ", "))
	}
	s.say("\nThe call came up within %.1f s.", time.Since(began).Seconds())
	return nil
}

// connected asks the phones whether it is true what the status document says.
func (s *stage) connected(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	all := true
	check := func(what string, phone user, cond func() bool) {
		answer := "yes"
		if err := phone.Wait(ctx, cond); err != nil {
			answer, all = "no ", false
		}
		s.say("   %s  %s", answer, what)
	}
	check("202 was called by 201", s.called, func() bool { return s.called.calledBy("201") })
	check("201 and 202 are talking to each other", s.called, func() bool { return slices.ContainsFunc(s.calling.Calls(), s.called.in) })
	check("sipxrest has hung up its own call with 201", s.calling, func() bool {
		return len(s.calling.Requests(sip.BYE)) > 0 && s.calling.Dialogs() == 1
	})
	return all
}

// keep leaves the stage to the user until ctx ends, and tells what the phones do.
func (s *stage) keep(ctx context.Context) {
	s.called.change(func() { s.called.hangUp = talk })
	s.called.HangUp()
	_ = s.calling.Wait(ctx, s.calling.OnHook) // only for the sake of what is printed
	s.say("\nEverything keeps running until Ctrl-C. Place a call, see how it goes, or use the plain port with Digest:\n")
	s.say("   %s", curl("-k", "POST", s.https))
	s.say("   %s", curl("-k", "GET", s.https))
	s.say("   %s\n", curl("--digest", "POST", s.http))
	s.introduceAPI()
	phones := s.phones()
	seen := make([]int, len(phones)) // before it is said that all is shown from now on
	for i, p := range phones {
		seen[i] = len(p.Log())
	}
	s.say("202 hangs up %v after it has answered. What the phones see:\n", talk)
	var both sync.WaitGroup
	for i, p := range phones {
		both.Go(func() { s.follow(ctx, p, seen[i]) })
	}
	both.Wait()
	s.say("\nStopped.")
}

// introduceAPI prints commands for /v1. The variables are those of docs/quickstart.md.
func (s *stage) introduceAPI() {
	s.say("The JSON API takes the PIN of 201, or the API key demo, which may do everything. In another terminal:\n")
	s.say("   export SIPXREST=%s KEY=%s KEYS=%s\n", s.https, s.key, s.keys)
	s.say("   curl -k -u 201:%s $SIPXREST/v1/calls -H 'Content-Type: application/json' -d '{\"calling\":\"201\",\"called\":\"202\"}'", pin)
	s.say("   curl -k -N -H \"Authorization: Bearer $KEY\" -H 'Accept: text/event-stream' $SIPXREST/v1/events\n")
	s.say("In a browser, as user 201 with the PIN %s, or by the key:\n", pin)
	s.say("   %s/console\n", s.https)
	s.say("Webhooks may lead to this machine, and pages of %s may call. docs/quickstart.md goes on from here.\n", pages)
}

// follow prints what a phone sees behind the lines that are seen.
func (s *stage) follow(ctx context.Context, p user, seen int) {
	name, _, _ := strings.Cut(strings.TrimPrefix(p.AOR(), "sip:"), "@")
	for p.Wait(ctx, func() bool { return len(p.Log()) > seen }) == nil {
		log := p.Log()
		for _, line := range log[seen:] {
			s.say("   %s  %s  %s", time.Now().Format(time.TimeOnly), name, line)
		}
		seen = len(log)
	}
}
