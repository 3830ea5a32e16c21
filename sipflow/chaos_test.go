package sipflow

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

var (
	chaosCalls = flag.Int("chaos", 1000, "calls of each seed of the chaos tests")
	chaosSeed  = flag.Uint64("chaos.seed", 1, "first seed of the chaos tests")
	chaosSeeds = flag.Uint64("chaos.seeds", uint64(3/flowtest.Share(3)), "how many seeds of the chaos tests")
)

// over lets a network lose and repeat packets, and hold others up for 5 to 200
// ms, so that they are overtaken.
func (w weather) over(n *siptest.Network, seed uint64) {
	var mu sync.Mutex // Late is asked while something is sent, by any goroutine
	random := rand.New(rand.NewPCG(seed, 0))
	draw := func(below int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(below)
	}
	n.Drop = func(siptest.Packet) bool { return draw(1000) < w.lost }
	n.Duplicate = func(siptest.Packet) bool { return draw(1000) < w.twice }
	n.Late = func(siptest.Packet) time.Duration {
		if draw(1000) >= w.late {
			return 0
		}
		return time.Duration(5+draw(196)) * time.Millisecond
	}
}

// town is a proxy with many users at a few phones, who do what they should.
type town struct {
	proxy  *siptest.Proxy
	phones []*siptest.Phone
}

// A town's users: a0, a1, … call, b0, … are called and hang up after some
// seconds, c0, … are called and wait for the other to hang up.
func newTown(n *siptest.Network, users int) *town {
	const perKind = 20
	cfg := siptest.ProxyConfig{Domain: "sipx.test", Users: map[string]string{"200": "secret"}, Locations: map[string]string{}}
	t := &town{}
	for i, script := range []siptest.Script{
		{Refer: siptest.Refer{Follow: true}},
		{HangUpAfter: 4 * time.Second},
		{},
	} {
		kind := string(rune('a' + i))
		for j := range perKind {
			if script.Ring = 500 * time.Millisecond; j < perKind/4 {
				script.Ring = 30 * time.Second // it is still ringing when others are over
			}
			addr := fmt.Sprintf("10.0.1.%d:5060", 1+i*perKind+j)
			n.Name(addr, kind)
			t.phones = append(t.phones, siptest.NewPhone(n.Listen(addr), siptest.Account{User: kind, Domain: "sipx.test", Password: "x",
				Proxy: netip.MustParseAddrPort(proxyAddr)}, script))
			for u := j; u < users; u += perKind {
				user := fmt.Sprint(kind, u)
				cfg.Users[user], cfg.Locations[user] = "x", "sip:"+user+"@"+addr
			}
			cfg.Users[kind] = "x" // as which the phones call
		}
	}
	t.proxy = n.Proxy(proxyAddr, cfg)
	return t
}

func (t *town) close() {
	for _, p := range t.phones {
		p.Close()
	}
	t.proxy.Close()
}

// witness remembers what a call told.
type witness struct {
	mu        sync.Mutex
	last      string // status line
	confirmed map[uint64]bool
	ended     bool
}

func (w *witness) observe(e *Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.Kind == Progress:
		w.last = e.Method + " " + e.Text
	case e.Kind == DialogChanged && e.Dialog.State == Confirmed:
		if w.confirmed == nil {
			w.confirmed = map[uint64]bool{}
		}
		w.confirmed[e.Dialog.Leg] = true
	case e.Kind == Ended:
		w.ended = true
	}
}

// weather is how bad the network is.
type weather struct{ lost, twice, late int } // of a thousand packets

var (
	bad   = weather{10, 10, 100}
	storm = weather{100, 100, 400}
)

// TestGoodPhonesConnectOverABadNetwork places calls, 100 a second, over a
// network that loses and repeats one packet in a hundred and lets one in ten be
// overtaken. What gets lost is sent again and what comes twice counts once, so
// every call succeeds, and at its end every phone is on-hook.
func TestGoodPhonesConnectOverABadNetwork(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		c := newChaos(t, seed, bad)
		c.place(*chaosCalls / flowtest.Share(4))
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		for _, p := range c.calls {
			if err := p.outcome(); err != nil {
				t.Errorf("%s: %v", p.Key, err)
			}
		}
		c.checkPhones()
		c.rig.empty()
		c.close()
	})
}

// TestAStormLeavesNothingBehind lets one packet in ten get lost. What becomes
// of a call is chance then, but it ends, and so it does at the phones.
func TestAStormLeavesNothingBehind(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		c := newChaos(t, seed, storm)
		c.place(*chaosCalls / 4 / flowtest.Share(2))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for _, p := range c.calls {
			if !p.over() {
				t.Errorf("%s is not over", p.Key)
			}
		}
		c.checkPhones()
		c.rig.empty()
		c.close()
	})
}

// TestShuttingDownInABadNetworkLeavesNoPhoneOffHook ends the service amid the
// load: half of the calls ring, some are about to be joined, some are up.
func TestShuttingDownInABadNetworkLeavesNoPhoneOffHook(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		c := newChaos(t, seed, bad)
		c.place(*chaosCalls / 5)
		time.Sleep(time.Duration(c.random.IntN(500)) * time.Millisecond)
		c.rig.stop()
		for _, p := range c.calls {
			if !p.over() {
				t.Errorf("%s is not over", p.Key)
			}
		}
		time.Sleep(2 * time.Minute) // calls of the phones' own
		synctest.Wait()
		c.checkPhones()
		c.close()
	})
}

func eachSeed(t *testing.T, f func(t *testing.T, seed uint64)) {
	for seed := *chaosSeed; seed < *chaosSeed+*chaosSeeds; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { f(t, seed) })
		})
	}
}

type chaos struct {
	*town
	t      *testing.T
	rig    *rig
	random *rand.Rand
	calls  []*chaosCall

	sent, lost int // packets
}

type chaosCall struct {
	*Call
	cut  bool // the client hangs up
	told witness
}

func newChaos(t *testing.T, seed uint64, w weather) *chaos {
	n := siptest.NewNetwork()
	n.Forget = true
	c := &chaos{t: t, random: rand.New(rand.NewPCG(seed, 1))}
	n.Observe = func(p siptest.Packet) {
		c.sent++
		if p.Lost {
			c.lost++
		}
	}
	w.over(n, seed)
	c.town = newTown(n, *chaosCalls)
	c.rig = newRig(t, n, proxyAddr)
	return c
}

func (c *chaos) close() {
	c.rig.stop()
	c.town.close()
	if c.lost < c.sent/200 {
		c.t.Errorf("%d of %d packets got lost: the network is too good", c.lost, c.sent)
	}
}

// place places 100 calls a second, three in ten by INVITE. Half of these the
// client hangs up.
func (c *chaos) place(calls int) {
	for i := range calls {
		p := &chaosCall{}
		s := spec(func(s *Spec) {
			s.CallingUser, s.CalledUser = fmt.Sprintf("a%d@sipx.test", i), fmt.Sprintf("b%d@sipx.test", i)
			s.Timeout, s.Observe = 3*time.Minute, p.told.observe
		})
		flow := Refer
		if i%10 < 3 {
			s.Method, flow = MethodInvite, Invite
			if p.cut = c.random.IntN(2) == 0; p.cut {
				s.CalledUser = fmt.Sprintf("c%d@sipx.test", i)
			}
		}
		s.Key = Key{"200@sipx.test", s.CallingUser, s.CalledUser}
		var err error
		if p.Call, err = c.rig.sw.Place(c.t.Context(), s, flow); err != nil {
			c.t.Fatal(err)
		}
		c.calls = append(c.calls, p)
		if p.cut {
			time.AfterFunc(90*time.Second, func() { p.stop(ErrHungUpByUser) })
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// checkPhones checks that no phone is off-hook.
func (c *chaos) checkPhones() {
	for i, p := range c.phones {
		if !p.OnHook() {
			log := p.Log()
			c.t.Errorf("phone %d is off-hook, in %d calls; it saw\n%s", i, p.Dialogs(), strings.Join(log[max(0, len(log)-40):], "\n"))
		}
	}
}

func (p *chaosCall) over() bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// outcome is what went wrong with a call that should have been connected.
func (p *chaosCall) outcome() error {
	if !p.over() {
		return errors.New("it is not over")
	}
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	switch err := p.Err(); {
	case p.cut && !errors.Is(err, ErrHungUpByUser), !p.cut && err != nil:
		return fmt.Errorf("it ended with %w", err)
	case p.Method == MethodInvite && len(p.told.confirmed) != 2:
		return fmt.Errorf("%d of its dialogs were confirmed", len(p.told.confirmed))
	case p.Method != MethodInvite && p.told.last != "NOTIFY SIP/2.0 200 OK":
		return fmt.Errorf("the last that it told is %q", p.told.last)
	case !p.told.ended:
		return errors.New("it did not tell its end")
	}
	return nil
}
