package sipflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Addresses of the tests' network.
const (
	ourAddr    = "10.0.0.1:5060"
	phoneAddr  = "10.0.0.2:5060"
	calledAddr = "10.0.0.3:5060"
	proxyAddr  = "10.0.0.9:5060"
)

// rig is a switchboard on a network in memory.
type rig struct {
	t        *testing.T
	net      *siptest.Network
	sw       *Switchboard
	stop     func()
	shutdown func() error // stop, for a test that wants the error

	log     logTo // discarded unless a test wants it
	stories stories

	mu     sync.Mutex
	lines  []string       // "INVITE SIP/2.0 180 Ringing"
	states []string       // "201 Early Dialog"
	told   []string       // "t1 ringing", "l2 held by client"
	began  int            // transfers
	finals map[string]int // how often a transfer has ended
	ended  int
	placed int
	late   bool // an event came after Ended
	faulty bool // there are faults, of the test's making
}

// newRig starts a switchboard that sends everything to hop.
func newRig(t *testing.T, n *siptest.Network, hop string, adjust ...func(*Config)) *rig {
	t.Helper()
	n.Name(ourAddr, "sipxrest")
	res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Listen: []string{"udp:" + ourAddr, "tcp:" + ourAddr}, Realm: "sipx.test", Resolver: res,
		Network: transport.Network{
			ListenUDP: func(a string) (transport.PacketConn, error) { return n.Listen(a), nil },
			ListenTCP: func(a string) (net.Listener, error) { return n.ListenTCP(a), nil },
			DialTCP: func(ctx context.Context, addr string) (net.Conn, error) {
				return n.DialContext(ctx, "tcp", addr)
			},
		}}
	if hop != "" {
		cfg.OutboundProxies = []string{"sip:" + hop}
	}
	for _, f := range adjust {
		f(&cfg)
	}
	node := inCluster(n, hop, &cfg, adjust)
	r := &rig{t: t, net: n}
	if r.sw, err = New(cfg, slog.New(slog.NewTextHandler(&r.log, nil)), r.observe, r.stories.observe); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.sw.Serve(ctx) }()
	r.shutdown = sync.OnceValue(func() error {
		defer res.Close()
		cancel()
		return <-served
	})
	r.stop = func() {
		if err := r.shutdown(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	synctest.Wait()
	node.runs(r)
	if by, ok := lateOn.Load(n); ok {
		late := lateTimers(r.sw)
		over := make(chan struct{})
		go late.run(over, by.(func() time.Duration))
		stop := r.stop
		r.stop = func() { close(over); stop() }
	}
	return r
}

func (r *rig) observe(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case Placed, Resumed:
		r.placed++
	case Ended:
		r.ended++
	case TransferChanged:
		r.transferred(e.ID, e.Transfer)
		if e.Again && e.Transfer.State != TransferDialling {
			r.began++
		}
	case LegHeld, LegResumed, LegMuted, LegUnmuted:
		what := map[EventKind]string{LegHeld: "held", LegResumed: "resumed", LegMuted: "muted", LegUnmuted: "unmuted"}[e.Kind]
		r.told = append(r.told, fmt.Sprintf("l%d %s by %s", e.Leg.N, what, partyNames[e.Leg.By]))
	case Digit:
		r.told = append(r.told, fmt.Sprintf("l%d %c", e.Leg.N, e.Digit))
	case DialogChanged:
		user, _, _ := strings.Cut(strings.TrimPrefix(e.Dialog.Remote, "sip:"), "@")
		r.states = append(r.states, user+" "+string(e.Dialog.State))
	case Progress:
		r.lines = append(r.lines, e.Method+" "+strings.TrimPrefix(e.Text, "SIP/2.0 "))
		if r.ended >= r.placed {
			r.late = true
		}
	}
}

var partyNames = map[Party]string{Self: "us", CallingParty: "calling", CalledParty: "called", NetworkParty: "network",
	ClientParty: "client"}

// transferred notes what is told of a transfer. r.mu is held.
func (r *rig) transferred(call string, t *TransferReport) {
	line := fmt.Sprintf("t%d %s", t.N, t.State)
	switch t.State {
	case TransferFailed, TransferCancelled, TransferCompleted:
		if r.finals == nil {
			r.finals = map[string]int{}
		}
		r.finals[fmt.Sprint(call, t.N)]++
	case TransferDialling:
		r.began++
		line = fmt.Sprintf("t%d %s to %s, %s leaves", t.N, t.Mode, t.To, partyNames[t.Leaver])
		if t.RequestedBy != 0 {
			line += fmt.Sprintf(", wants l%d", t.RequestedBy)
		}
	}
	if c := t.Cause; c != nil {
		line += fmt.Sprintf(" by %s on l%d", partyNames[c.By], c.Leg)
		if c.Code != 0 {
			line += fmt.Sprintf(" for %d", c.Code)
		}
		if c.Method == "BYE" {
			line += " for BYE"
		}
	}
	r.told = append(r.told, line)
}

// events is what was told of holds, muting and transfers.
func (r *rig) events() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.told, ", ")
}

func (r *rig) status() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, ", ")
}

// spec is agent 200 connecting 201 to 202.
func spec(adjust ...func(*Spec)) Spec {
	s := Spec{
		Key:       Key{Agent: "200@sipx.test", Calling: "201@sipx.test", Called: "202@sipx.test"},
		AgentName: `Alice "A" Agent`, CallingUser: "201@sipx.test", CalledUser: "202@sipx.test",
		Timeout: 20 * time.Second, Credentials: Credentials{Username: "200", Password: "secret"},
	}
	for _, f := range adjust {
		f(&s)
	}
	return s
}

// place starts a call, which must succeed.
func (r *rig) place(s Spec) *Call {
	r.t.Helper()
	c, err := r.sw.Place(r.t.Context(), s, Refer)
	if err != nil {
		r.t.Fatalf("Place: %v", err)
	}
	return c
}

// placeAgain asks for the call once more. It is refused while its calling phone,
// which has accepted the REFER, calls the other one; when that is depends on what
// gets lost and how late timers are.
func (r *rig) placeAgain() {
	r.t.Helper()
	if _, err := r.sw.Place(r.t.Context(), spec(), Refer); err != nil && !errors.Is(err, ErrReferred) {
		r.t.Errorf("placed again: %v", err)
	}
}

// empty checks that nothing is left of any call once everything has expired.
func (r *rig) empty() {
	r.t.Helper()
	time.Sleep(4 * time.Minute)
	synctest.Wait()
	r.sw.mu.Lock()
	if r.sw.active != 0 || len(r.sw.calls) != 0 {
		r.t.Errorf("%d calls are still active", r.sw.active)
	}
	if n := len(r.sw.bridges); n != 0 {
		r.t.Errorf("%d bridges are kept", n)
	}
	r.sw.mu.Unlock()
	for i := range r.sw.shards {
		s := &r.sw.shards[i]
		s.mu.Lock()
		if n := len(s.ended.dialogs) + len(s.ended.invites) + len(s.ended.queue); n != 0 {
			r.t.Errorf("shard %d remembers %d ended dialogs and INVITEs", i, n)
		}
		if len(s.clients)+len(s.legs)+len(s.husks)+len(s.inbound) != 0 {
			r.t.Errorf("shard %d keeps %d transactions, %d legs, %d husks, %d inbound INVITEs", i, len(s.clients), len(s.legs), len(s.husks),
				len(s.inbound))
		}
		for j := range s.lists {
			if s.lists[j].head != nil {
				r.t.Errorf("shard %d keeps a timer of %v", i, s.lists[j].delay)
			}
		}
		s.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.sw.faults.Count.Load(); n != 0 && !r.faulty {
		r.t.Errorf("%d internal faults", n)
	}
	if r.ended != r.placed {
		r.t.Errorf("%d calls placed, %d ended", r.placed, r.ended)
	}
	for n, times := range r.finals {
		if times != 1 {
			r.t.Errorf("transfer %s has ended %d times", n, times)
		}
	}
	if r.began != len(r.finals) {
		r.t.Errorf("%d transfers begun, %d ended", r.began, len(r.finals))
	}
	if r.late {
		r.t.Error("an event came after the call's end was reported")
	}
	for _, wrong := range r.stories.problems() {
		r.t.Errorf("events: %s", wrong)
	}
	r.goldenEvents()
}

// pathTo is how an address is reached by UDP.
func pathTo(t testing.TB, sw *Switchboard, to string) transport.Path {
	t.Helper()
	p, err := sw.transport.Path(t.Context(), resolve.Hop{Transport: "udp", Addr: netip.MustParseAddrPort(to)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
