package sipflow

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
)

// mischiefTake is what becomes of a call that somebody places to us.
func mischiefTake(r *rand.Rand, mu *sync.Mutex) func(ctx context.Context, in *Incoming) error {
	dice := func(n int) int { mu.Lock(); defer mu.Unlock(); return r.IntN(n) }
	return func(ctx context.Context, in *Incoming) error {
		if dice(2) == 0 {
			if err := in.AnswerHeld(ctx); err != nil {
				return err
			}
			wait, stop := context.WithTimeout(ctx, time.Duration(dice(100))*time.Second)
			in.Digit(wait) //nolint:errcheck // it is about the wait
			stop()
		}
		err := in.Connect(ctx, Destination{URI: "sip:202@10.0.0.3"})
		if err != nil {
			err = in.Connect(ctx, Destination{URI: "sip:204@10.0.0.4"})
		}
		return err
	}
}

// Whatever phones do, in whatever order: no fault, nothing is left of any call once
// they behave, and no phone stays off hook.
func TestMischief(t *testing.T) {
	seeds := uint64(10)
	if testing.Short() {
		seeds = 5
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { makeMischief(t, seed) })
		})
	}
}

// makeMischief has calls placed for some minutes, on a network that is bad by the seed.
func makeMischief(t *testing.T, seed uint64) {
	n := siptest.NewNetwork()
	dice := rand.New(&sharedSource{source: rand.NewPCG(seed, 0)})
	var mu sync.Mutex
	hop := ""
	if seed%3 == 0 {
		hop = proxyAddr
	}
	m := &mischief{}
	var weather sync.Mutex
	bad := func(percent int) func(siptest.Packet) bool {
		chance := rand.New(rand.NewPCG(seed, 99))
		return func(siptest.Packet) bool {
			weather.Lock()
			defer weather.Unlock()
			return !m.isOver() && chance.IntN(100) < percent
		}
	}
	switch seed % 5 {
	case 1:
		n.Drop = bad(10)
	case 2:
		n.Duplicate = bad(20)
	case 3:
		late := bad(10)
		n.Late = func(p siptest.Packet) time.Duration {
			if late(p) {
				return 700 * time.Millisecond
			}
			return 0
		}
	case 4:
		late := bad(50)
		lateOn.Store(n, func() time.Duration {
			if late(siptest.Packet{}) {
				return 1300 * time.Millisecond
			}
			return 20 * time.Millisecond
		})
		defer lateOn.Delete(n)
	}
	r := newRig(t, n, hop, func(c *Config) {
		c.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: mischiefTake(dice, &mu)}
		c.Limits.DialogRate, c.Realm = 1000, "10.0.0.9"
	})
	m.rig = r
	said := new(syncBuffer)
	r.log.b.Store(said)
	var phones sync.WaitGroup
	var all []*mischiefPhone
	for i, addr := range []string{phoneAddr, calledAddr, "10.0.0.4:5060", proxyAddr} {
		p := &mischiefPhone{mischief: m, addr: addr, rand: rand.New(&sharedSource{source: rand.NewPCG(seed, uint64(i+1))}), udp: n.Listen(addr)}
		all = append(all, p)
		phones.Go(p.run)
	}
	var calls []*Call
	until := time.Now().Add(4 * time.Minute)
	for i := 0; time.Now().Before(until); i++ {
		mu.Lock()
		kind, wait := dice.IntN(4), time.Duration(dice.IntN(40))*time.Second
		mu.Unlock()
		s := spec(func(s *Spec) {
			s.Method, s.CallingUser, s.CalledUser = MethodInvite, "201@10.0.0.2", "202@10.0.0.3"
			s.Key.Agent, s.Key.Called = "200@10.0.0.9", strconv.Itoa(i)+"@10.0.0.9"
		})
		flow := Invite
		switch kind {
		case 0:
			s.Method, flow = MethodRefer, Refer
		case 1:
			s.Key.Agent, s.Key.Called = "200@10.0.0.3", "call-"+strconv.Itoa(i)
			s.Dial = &Dialling{Gateway: "sip:10.0.0.2", Number: "+4930555001", Caller: "+493012345", Target: "sip:room@10.0.0.3",
				Credentials: Credentials{Username: "trunk", Password: "of the trunk"}, Realm: "gw"}
			flow = Dial
		}
		if c, err := r.sw.Place(t.Context(), s, flow); err == nil {
			calls = append(calls, c)
		}
		time.Sleep(wait)
		for _, c := range calls {
			mu.Lock()
			what := dice.IntN(18)
			mu.Unlock()
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			switch what {
			case 0:
				r.sw.Transfer(ctx, c.Holds(), Key{"200@10.0.0.9", "204@10.0.0.9", c.Holds().Called}, "204@10.0.0.4", false) //nolint:errcheck
			case 1:
				go func() { defer stop(); c.Mute(ctx, Mute(anyOf(&mu, dice, 4))) }() //nolint:errcheck
				continue
			case 3, 4, 5, 6, 7, 8, 9, 10:
				who, other := Party(1+anyOf(&mu, dice, 2)), calls[anyOf(&mu, dice, len(calls))]
				go func() {
					defer stop()
					switch what {
					case 3:
						c.Hold(ctx, who, anyOf(&mu, dice, 2) == 0) //nolint:errcheck
					case 4:
						c.MuteParty(ctx, who, Mute(anyOf(&mu, dice, 4))) //nolint:errcheck
					case 5:
						c.BlindTransfer(ctx, who, "204@10.0.0.4", false) //nolint:errcheck
					case 6:
						c.AttendedTransfer(ctx, who, "204@10.0.0.4", false) //nolint:errcheck
					case 7:
						c.CompleteTransfer(ctx, 1+anyOf(&mu, dice, 3)) //nolint:errcheck
					case 8:
						c.CancelTransfer(ctx, 1+anyOf(&mu, dice, 3)) //nolint:errcheck
					case 9:
						c.Redirect(ctx, who, "204@10.0.0.4", false) //nolint:errcheck
					case 10:
						r.sw.Join(ctx, c, other, Self) //nolint:errcheck
					}
				}()
				continue
			case 2:
				go func() { defer stop(); c.SendDTMF(ctx, '1', DTMFRelay) }() //nolint:errcheck
				continue
			}
			stop()
		}
	}
	m.mu.Lock()
	m.over = true
	m.mu.Unlock()
	time.Sleep(time.Minute)
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	r.mu.Lock()
	consulting := r.began - len(r.finals)
	r.mu.Unlock()
	r.sw.mu.Lock()
	for key, c := range r.sw.calls {
		ups := 0
		for _, l := range c.legs {
			for _, d := range m.up(nil) {
				if d.callID == l.callID {
					ups++
				}
			}
		}
		if ups == 3 && consulting > 0 { // nobody has completed its attended transfer
			consulting--
			continue
		}
		if ups != 2 {
			t.Errorf("%d phones are in the call %s; it saw\n%s\n%s", ups, key, m.messagesOf(c.legs), stacks())
		}
	}
	r.sw.mu.Unlock()
	for _, c := range calls {
		c.HangUp(ErrHungUpByUser)
	}
	time.Sleep(2 * time.Minute)
	r.sw.mu.Lock()
	for _, c := range r.sw.calls { // those that we took
		if c.in != nil {
			c.HangUp(ErrHungUpByUser)
		}
	}
	r.sw.mu.Unlock()
	time.Sleep(time.Minute)
	r.empty()
	for _, d := range m.up(nil) {
		t.Errorf("a phone at %s is off hook: %s %s %s", d.of.addr, d.callID, d.local, d.remote)
	}
	if t.Failed() {
		t.Log(said.String())
	}
	r.stop()
	for _, p := range all {
		p.udp.Close()
	}
	phones.Wait()
}

// stacks are those of the goroutines of calls.
func stacks() string {
	buf := make([]byte, 8<<20)
	var b strings.Builder
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "sipflow.(*Switchboard).run") {
			b.WriteString(g + "\n\n")
		}
	}
	return b.String()
}

// messagesOf are the messages of legs, as far as they tell requests and responses apart.
func (m *mischief) messagesOf(legs []*Leg) string {
	var b strings.Builder
	for _, p := range m.net.Packets() {
		i := slices.IndexFunc(legs, func(l *Leg) bool { return strings.Contains(string(p.Data), l.callID) })
		if i < 0 {
			continue
		}
		first, rest, _ := strings.Cut(string(p.Data), "\r\n")
		_, seq, _ := strings.Cut(rest, "\r\nCSeq: ")
		seq, _, _ = strings.Cut(seq, "\r\n")
		fmt.Fprintf(&b, "%v leg %d %s > %s lost %t: %s (%s)\n", p.Sent.Format("04:05.000"), i, p.From, p.To, p.Lost, first, seq)
	}
	return b.String()
}

// anyOf throws dice that several goroutines have.
func anyOf(mu *sync.Mutex, r *rand.Rand, n int) int { mu.Lock(); defer mu.Unlock(); return r.IntN(n) }
