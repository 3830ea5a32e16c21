package sipflow

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

var (
	soakCalls = flag.Int("soak", 300, "calls of each soak test")
	soakSeed  = flag.Uint64("soak.seed", 1, "seed of the soak tests' misfortunes")
)

// misfortune makes a phone's script: mostly well-behaved, sometimes not.
func misfortune(r *rand.Rand) siptest.Script {
	s := siptest.Script{Ring: time.Duration(r.IntN(4000)) * time.Millisecond}
	switch r.IntN(20) {
	case 0:
		s.Status = []int{404, 480, 486, 488, 500, 503, 603}[r.IntN(7)]
	case 1:
		s.NeverAnswer = true
	case 2:
		s.Silent = true
	case 3:
		s.Forks = 1 + r.IntN(3)
	case 4:
		s.Bye = siptest.Bye{Status: 481}
	case 5:
		s.Bye = siptest.Bye{Silent: true}
	case 6:
		s.NoSDP = true
	case 7:
		s.AnswerOnCancel, s.NeverAnswer = true, true
	case 8:
		s.LoseACKs = 1 + r.IntN(3)
	}
	switch r.IntN(10) {
	case 0:
		s.Reinvite.Status = []int{481, 488, 491, 500}[r.IntN(4)]
	case 1:
		s.Reinvite.Silent = true
	case 2:
		s.Reinvite.After = time.Duration(r.IntN(10_000)) * time.Millisecond
	}
	switch r.IntN(10) {
	case 0:
		s.Refer.Status = []int{403, 405, 501, 603, 500}[r.IntN(5)]
	case 1:
		s.Refer.Silent = true
	case 2:
		s.Refer.NoNotify = true
	case 3:
		s.Refer.Early = true
	}
	switch r.IntN(4) {
	case 0:
		s.HangUpAfter = time.Duration(1+r.IntN(60_000)) * time.Millisecond
	case 1:
		for range 1 + r.IntN(3) {
			s.Do = append(s.Do, siptest.Action{After: time.Duration(r.IntN(30_000)) * time.Millisecond,
				Method: []sip.RequestMethod{"INVITE", "INFO", "UPDATE", "MESSAGE", "OPTIONS"}[r.IntN(5)]})
		}
	case 2:
		s.Header = session([]string{"90;refresher=uac", "90;refresher=uas", "1800;refresher=uac"}[r.IntN(3)])
	}
	return s
}

// TestSoak lets many calls of both flows go wrong in every way that the scripts
// know. The network loses, repeats and delays one message in a hundred. It
// checks that nothing is left: each call has ended once, every phone that can
// be is on-hook. -soak=N says how many calls.
func TestSoak(t *testing.T) {
	const phonePairs = 50
	for done, batch := 0, uint64(0); done < *soakCalls; batch++ {
		n := min(*soakCalls-done, 250)
		done += n
		t.Run(fmt.Sprintf("seed %d-%d", *soakSeed, batch), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { soak(t, rand.New(rand.NewPCG(*soakSeed, batch)), n, phonePairs) })
		})
		if t.Failed() {
			return
		}
	}
}

func soak(t *testing.T, random *rand.Rand, calls, pairs int) {
	n := siptest.NewNetwork()
	n.Forget = true
	// The hooks are asked one at a time each, but Late while something is sent.
	drop, twice, late := rand.New(rand.NewPCG(random.Uint64(), 1)), rand.New(rand.NewPCG(random.Uint64(), 2)),
		rand.New(rand.NewPCG(random.Uint64(), 3))
	n.Drop = func(siptest.Packet) bool { return drop.IntN(100) == 0 }
	n.Duplicate = func(siptest.Packet) bool { return twice.IntN(100) == 0 }
	lateLock := make(chan struct{}, 1)
	n.Late = func(siptest.Packet) time.Duration {
		lateLock <- struct{}{}
		defer func() { <-lateLock }()
		if late.IntN(100) == 0 {
			return time.Duration(late.IntN(20)) * time.Millisecond
		}
		return 0
	}
	users, locations := map[string]string{"200": "secret"}, map[string]string{}
	var all []*siptest.Phone
	deaf := map[*siptest.Phone]bool{} // heeds no BYE or CANCEL, so that it stays off-hook
	phone := func(user string) {
		port := 10_000 + len(all)
		addr := fmt.Sprintf("10.0.1.1:%d", port)
		users[user], locations[user] = "x", "sip:"+user+"@"+addr
		script := misfortune(random)
		p := n.Phone(user, addr, script)
		all, deaf[p] = append(all, p), script.Bye.Silent || script.Silent
	}
	for i := range pairs {
		phone(fmt.Sprintf("a%d", i))
		phone(fmt.Sprintf("b%d", i))
		phone(fmt.Sprintf("c%d", i))
	}
	proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Users: users, Locations: locations})
	r := newRig(t, n, proxyAddr, fallback)
	var placed []*Call
	for i := range calls {
		pair := random.IntN(pairs)
		user := func(side string) string { return fmt.Sprintf("%s%d@sipx.test", side, pair) }
		s := spec(func(s *Spec) {
			s.CallingUser, s.CalledUser = user("a"), user("b")
			s.Key = Key{"200@sipx.test", s.CallingUser, s.CalledUser}
			if random.IntN(3) > 0 {
				s.Method = MethodInvite
			}
		})
		flow := Refer
		if s.Method == MethodInvite {
			flow = Invite
		}
		if c, err := r.sw.Place(t.Context(), s, flow); err == nil {
			placed = append(placed, c)
		}
		after := func(d time.Duration, f func(context.Context)) {
			wait := time.Duration(random.Int64N(int64(d)))
			go func() {
				time.Sleep(wait)
				ctx, stop := context.WithTimeout(t.Context(), time.Minute)
				defer stop()
				f(ctx)
			}()
		}
		switch random.IntN(4) {
		case 0:
			to := Key{s.Key.Agent, user("c"), s.Key.Called}
			after(30*time.Second, func(ctx context.Context) {
				r.sw.Transfer(ctx, s.Key, to, user("c"), false)
			}) //nolint:errcheck // may fail in every way
		case 1:
			after(60*time.Second, func(ctx context.Context) { r.sw.HangUp(ctx, s.Key) }) //nolint:errcheck // likewise
		case 2:
			p := all[random.IntN(len(all))]
			after(60*time.Second, func(context.Context) { p.HangUp() })
		}
		if i%10 == 0 {
			p, script := all[random.IntN(len(all))], misfortune(random)
			p.SetScript(script)
			deaf[p] = deaf[p] || script.Bye.Silent || script.Silent
		}
		time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
	}
	if len(placed) < calls/3 {
		t.Errorf("%d of %d calls were placed", len(placed), calls)
	}
	time.Sleep(3 * time.Minute)
	for _, c := range placed { // good phones talk on
		c.stop(ErrHungUpByUser)
	}
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	for _, c := range placed {
		select {
		case <-c.Done():
		default:
			t.Errorf("call %s is not over", c.Holds())
		}
	}
	for i, p := range all {
		if !p.OnHook() && !deaf[p] {
			log := p.Log()
			t.Errorf("phone %d is off-hook; it saw\n%s", i, strings.Join(log[max(0, len(log)-60):], "\n"))
		}
	}
	r.empty()
	for _, p := range all {
		p.Close()
	}
	proxy.Close()
	r.stop()
}
