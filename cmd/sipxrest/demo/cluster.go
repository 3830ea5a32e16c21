package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

// ClusterOptions are what a user of the demo with several nodes may choose.
type ClusterOptions struct {
	// Program is the sipxrest whose processes play: this one, mostly.
	Program string
	// Logs are where the processes' own logs go; nil for nowhere.
	Logs io.Writer
}

// ErrNotKept means that the call did not outlive its node as it should.
var ErrNotKept = errors.New("the call did not go on as it should")

const (
	// clusterPatience is how long the start may take.
	clusterPatience = time.Minute
	// promise is how long after its node has died a call may take to be at another one.
	promise = 10 * time.Second
	// listening is how many packets of audio each phone hears before it is judged: two seconds of them.
	listening = 100
)

// RunCluster plays the demo of several nodes and explains it on out, whose errors are
// ignored:
//
//	three stores, three nodes, a proxy, two phones
//	POST → node 1: 201 and 202 talk, and go on through node 1
//	kill -9 of node 1
//	node 2 or 3 → UPDATE or INVITE → 201, 202: I am your other side now
//	201 → INFO → that node → 202: a digit
//	DELETE → the third node: both phones hang up
//
// It returns nil only if all of that came true. When it returns, every process has ended
// and its files are removed.
func RunCluster(ctx context.Context, opts ClusterOptions, out io.Writer) (err error) {
	s, err := newTroupe(ctx, opts, out)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.play(ctx); err != nil {
		return fmt.Errorf("demo: %w%s", err, s.lastWords())
	}
	return nil
}

// play makes one call, kills its node and looks what becomes of it.
func (s *troupe) play(ctx context.Context) error {
	s.say("sipxrest demo --cluster: a call outlives the node that made it.\n")
	s.say("1. Three stores keep what the nodes know of their calls: %s.", s.list(s.stores))
	s.say("   Three nodes serve: %s. Each is a process of its own.", s.list(s.nodes))
	s.say("   A SIP proxy listens on udp:%s. The phones 201 and 202 have registered with it. They send audio to each other.\n", s.proxy.Addr())
	first := s.nodes[0]
	s.say("2. The user 201, whose PIN is %s, asks the first node for a call to 202 that goes on through it:\n", pin)
	s.say("   %s\n", s.curl(http.MethodPost, first))
	if code, body, err := s.ask(ctx, http.MethodPost, first); err != nil || code != http.StatusOK {
		return fmt.Errorf("POST at the first node: %d %s: %w", code, body, err)
	}
	if !s.await(ctx, patience, func() bool { return s.talk() && s.at(first) }) {
		return fmt.Errorf("%w: the phones do not talk", ErrNotConnected)
	}
	s.resetAudio()
	heard := s.listen(ctx)
	s.check(heard.whole(), "201 and 202 talk: %s", heard)
	code, body, err := s.ask(ctx, http.MethodGet, s.nodes[2])
	s.check(err == nil && code == http.StatusOK && confirmed(body) == 2, "the third node tells the state of the call, too")

	s.say("\n3. kill -9 %d: the first node is gone, at once and without a word.\n", first.pid())
	s.resetAudio()
	killed := time.Now()
	first.kill()
	var now *player
	awake := time.Duration(0) // of this process: a machine that has no time for it has none for the nodes
	moved := s.await(ctx, clusterPatience, func() bool {
		awake += look
		for _, n := range s.nodes[1:] {
			if s.at(n) {
				now = n
			}
		}
		return now != nil
	})
	if !moved {
		s.check(false, "another node has taken the call")
		return ErrNotKept
	}
	took := time.Since(killed)
	s.check(awake <= promise, "after %.1f s %s has told both phones that it is their other side now", took.Seconds(), now.name)
	heard = s.listen(ctx)
	s.check(heard.whole(), "nobody has noticed: %s", heard)
	res, err := s.calling.Do(ctx, digit)
	s.check(err == nil && res.StatusCode == http.StatusOK && len(s.called.Requests(sip.INFO)) == 1, "201 dials a digit, and 202 gets it through %s", now.name)

	third := s.nodes[1]
	if third == now {
		third = s.nodes[2]
	}
	s.say("\n4. The user hangs up at %s, which never had the call:\n", third.name)
	s.say("   %s\n", s.curl(http.MethodDelete, third))
	code, body, err = s.ask(ctx, http.MethodDelete, third)
	s.check(err == nil && code == http.StatusOK, "the answer is %d %s", code, body)
	s.check(s.await(ctx, settle, func() bool { return s.calling.OnHook() && s.called.OnHook() }), "both phones have hung up")
	if s.failed {
		return ErrNotKept
	}
	s.say("\ndocs/cluster.md says how to have this on three machines.")
	return nil
}

// check says what has come true, or not.
func (s *troupe) check(is bool, format string, args ...any) {
	mark := "yes"
	if !is {
		mark, s.failed = "no ", true
	}
	s.say("   %s  "+format, append([]any{mark}, args...)...)
}

// hearing is what both phones have heard of each other.
type hearing struct {
	packets, wrong int // wrong ones were lost, came twice or were another stream's
	longest        time.Duration
	enough         bool // they heard each other to the end
}

// whole reports whether each packet that was sent came, once, and until the end.
func (h hearing) whole() bool { return h.enough && h.wrong == 0 }

func (h hearing) String() string {
	text := fmt.Sprintf("%d packets of audio came, at most %v apart, ", h.packets, h.longest.Round(time.Millisecond))
	switch {
	case !h.enough:
		return text + "and then no more"
	case h.wrong > 0:
		return fmt.Sprintf("%s%d were lost or came wrong", text, h.wrong)
	}
	return text + "none was lost"
}

// listen lets the phones talk until each has heard enough. What they heard is judged by the
// numbers of the packets: times between them are as long as a busy machine makes them.
func (s *troupe) listen(ctx context.Context) hearing {
	before := [2]int{s.voices[0].Audio().Packets, s.voices[1].Audio().Packets}
	enough := s.await(ctx, patience, func() bool {
		return s.voices[0].Audio().Packets >= before[0]+listening && s.voices[1].Audio().Packets >= before[1]+listening
	})
	return hear(s.voices[0].Audio(), s.voices[1].Audio(), enough)
}

// hear joins what two phones have heard.
func hear(a, b siptest.Audio, enough bool) hearing {
	return hearing{
		packets: a.Packets + b.Packets,
		wrong:   a.Lost + a.Twice + a.Anew + b.Lost + b.Twice + b.Anew,
		longest: max(a.Longest, b.Longest),
		enough:  enough && a.Packets > 0 && b.Packets > 0,
	}
}

func (s *troupe) resetAudio() {
	for _, v := range s.voices {
		v.Reset()
	}
}
