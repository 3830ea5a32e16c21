package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestRecordsAreKeptForTheirTTL(t *testing.T) {
	const target = "pbx.example"
	for _, c := range []struct {
		name string
		ttl  int
		keep time.Duration
	}{
		{"as the domain says", 100, 100 * time.Second},
		{"TTL 0 is kept a moment", 0, 5 * time.Second},
		{"not for weeks", 1 << 30, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := newClock()
			z := newZone(t, fmt.Sprintf("%s. %d A 192.0.2.1", target, c.ttl))
			r := newResolver(t, Config{Exchange: z.exchange, Now: clock.now, Network: "ip4"})
			ask := func() []string { return mustHops(t, r, Target{Host: target, Port: 5060}) }
			wantHops(t, ask(), "udp:192.0.2.1:5060")
			z.set(t, target+". 60 A 192.0.2.2")
			clock.pass(c.keep - time.Millisecond)
			wantHops(t, ask(), "udp:192.0.2.1:5060")
			clock.pass(time.Millisecond)
			wantHops(t, ask(), "udp:192.0.2.2:5060")
			if n := len(z.questions()); n != 2 {
				t.Errorf("%d questions", n)
			}
		})
	}
}

func TestAbsenceIsRememberedToo(t *testing.T) {
	for _, c := range []struct {
		negTTL uint32
		keep   time.Duration
	}{{20, 20 * time.Second}, {86400, time.Minute}, {0, 5 * time.Second}} {
		clock := newClock()
		z := newZone(t, "plain.example. 3600 A 192.0.2.1")
		z.negTTL = c.negTTL
		r := newResolver(t, Config{Exchange: z.exchange, Now: clock.now, Network: "ip4"})
		target := Target{Host: "plain.example"}
		mustHops(t, r, target)
		first := z.questions()
		if want := []string{"A plain.example", "NAPTR plain.example", "SRV _sip._tcp.plain.example",
			"SRV _sip._udp.plain.example"}; !slices.Equal(first, want) {
			t.Errorf("asked %v", first)
		}
		clock.pass(c.keep - time.Millisecond)
		mustHops(t, r, target)
		if again := z.questions(); len(again) > 0 {
			t.Errorf("negative TTL %d: asked again %v", c.negTTL, again)
		}
		clock.pass(time.Millisecond)
		mustHops(t, r, target)
		if again := z.questions(); len(again) != 3 {
			t.Errorf("negative TTL %d: asked %v after %v", c.negTTL, again, c.keep)
		}
	}
}

func TestAThousandCallsAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, pbx...)
		release := make(chan struct{})
		r := newResolver(t, Config{Network: "ip4", Exchange: func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
			<-release
			return z.exchange(ctx, q, server)
		}, Timeout: time.Hour})
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { mustHops(t, r, Target{Host: "srv.example"}) })
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		want := []string{"A one.example", "A three.example", "A two.example", "NAPTR srv.example", "SRV _sip._tcp.srv.example",
			"SRV _sip._udp.srv.example"}
		if got := z.questions(); !slices.Equal(got, want) {
			t.Errorf("asked %v", got)
		}
	})
}

func TestCallerThatGivesUpDoesNotHarmTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, pbx...)
		release := make(chan struct{})
		r := newResolver(t, Config{Network: "ip4", Exchange: func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
			<-release
			return z.exchange(ctx, q, server)
		}, Timeout: time.Hour})
		hungUp := errors.New("the phone hung up")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.Hops(ctx, Target{Host: "plain.example", Port: 5060}); !errors.Is(err, hungUp) {
				t.Errorf("got %v", err)
			}
		})
		wg.Go(func() {
			wantHops(t, mustHops(t, r, Target{Host: "plain.example", Port: 5060}), "udp:192.0.2.9:5060")
		})
		synctest.Wait()
		cancel(hungUp)
		synctest.Wait()
		close(release)
		wg.Wait()
	})
}

// outage is a name server that can be taken away.
type outage struct {
	*zone
	down bool
}

func (o *outage) exchange(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	if o.down {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return o.zone.exchange(ctx, q, server)
}

func TestOldAnswerServesWhileNoServerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{zone: newZone(t, "pbx.example. 60 A 192.0.2.1")}
		o.negTTL = 60
		r := newResolver(t, Config{Exchange: o.exchange, Servers: []string{"192.0.2.53", "192.0.2.54"}, Network: "ip4"})
		target := Target{Host: "pbx.example"}
		mustHops(t, r, target)
		o.down = true
		time.Sleep(61 * time.Second)
		start := time.Now()
		wantHops(t, mustHops(t, r, target), "udp:192.0.2.1:5060")
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("the old answer took %v", took)
		}
		time.Sleep(3500 * time.Millisecond) // the look-ups have failed now, and are not repeated yet
		start = time.Now()
		wantHops(t, mustHops(t, r, target), "udp:192.0.2.1:5060")
		if took := time.Since(start); took != 0 {
			t.Errorf("the old answer took %v", took)
		}
		time.Sleep(30 * time.Second) // older than StaleFor
		if hops, err := r.Hops(t.Context(), target); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("got %v, %v", hops, err)
		}
		start = time.Now()
		if _, err := r.Hops(t.Context(), target); !errors.Is(err, ErrNoAnswer) || time.Since(start) != 0 {
			t.Errorf("a failure is looked up again at once: %v, %v", err, time.Since(start))
		}
		o.down = false
		time.Sleep(retryAfter)
		wantHops(t, mustHops(t, r, target), "udp:192.0.2.1:5060")
	})
}

func TestSlowBackupDoesNotDelayTheCall(t *testing.T) {
	for _, slow := range []string{"AAAA one.example", "A two.example", "SRV _sip._tcp.srv.example"} {
		synctest.Test(t, func(t *testing.T) {
			z := newZone(t, pbx...)
			r := newResolver(t, Config{Exchange: func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
				if dns.TypeToString[q.Question[0].Qtype]+" "+q.Question[0].Name == slow+"." {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return z.exchange(ctx, q, server)
			}})
			start := time.Now()
			hops := mustHops(t, r, Target{Host: "srv.example"})
			if took := time.Since(start); took != grace || hops[0] != "udp:192.0.2.1:5070" {
				t.Errorf("%s is slow: %v after %v", slow, hops, took)
			}
		})
	}
}

func TestAddressesWaitForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, pbx...)
		r := newResolver(t, Config{Exchange: func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
			if q.Question[0].Qtype == dns.TypeAAAA {
				time.Sleep(900 * time.Millisecond)
			}
			return z.exchange(ctx, q, server)
		}})
		got, err := r.Addresses(t.Context(), "srv.example")
		if err != nil || fmt.Sprint(got) != "[192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::3]" {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestDroppedNAPTRQuestionsAreLivedWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, pbx...)
		r := newResolver(t, Config{Network: "ip4", Exchange: func(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
			if q.Question[0].Qtype == dns.TypeNAPTR {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return z.exchange(ctx, q, server)
		}, Servers: []string{"192.0.2.53", "192.0.2.54", "192.0.2.55"}})
		start := time.Now()
		wantHops(t, mustHops(t, r, Target{Host: "srv.example", Transport: ""})[:1], "udp:192.0.2.1:5070")
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestMadeUpNamesDoNotFillTheMemory(t *testing.T) {
	clock := newClock()
	z := newZone(t, pbx...)
	r := newResolver(t, Config{Exchange: z.exchange, Now: clock.now, MaxEntries: 100, Network: "ip4"})
	own := Target{Host: "plain.example", Port: 5060}
	asked := 0
	for i := range 2000 {
		if i%10 == 0 {
			mustHops(t, r, own)
			for _, q := range z.questions() {
				if q == "A plain.example" {
					asked++
				}
			}
		}
		clock.pass(time.Millisecond)
		r.Hops(t.Context(), Target{Host: fmt.Sprintf("made-up-%d.example", i), Port: 5060})
	}
	if n := len(r.cache.answers); n > 100 {
		t.Errorf("%d record sets kept", n)
	}
	if asked > 1 {
		t.Errorf("our own domain was forgotten %d times", asked-1)
	}
}

func TestTooManyNamesAtATimeAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{zone: newZone(t), down: true}
		r := newResolver(t, Config{Exchange: o.exchange, Network: "ip4"})
		var wg sync.WaitGroup
		for i := range maxFlights {
			wg.Go(func() { r.Hops(t.Context(), Target{Host: fmt.Sprintf("made-up-%d.example", i), Port: 5060}) })
		}
		synctest.Wait()
		if _, err := r.Hops(t.Context(), Target{Host: "one-more.example", Port: 5060}); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
		if n := len(r.sockets); n != maxSockets {
			t.Errorf("%d questions on the wire", n)
		}
		wg.Wait()
	})
}

func TestCloseEndsLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{zone: newZone(t, pbx...)}
		r := newResolver(t, Config{Exchange: o.exchange, Network: "ip4"})
		mustHops(t, r, Target{Host: "plain.example"})
		o.down = true
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.Hops(t.Context(), Target{Host: "srv.example"}); err == nil {
				t.Error("no error")
			}
		})
		synctest.Wait()
		start := time.Now()
		r.Close()
		wg.Wait()
		if time.Since(start) != 0 {
			t.Errorf("Close took %v", time.Since(start))
		}
		if _, err := r.Hops(t.Context(), Target{Host: "other.example"}); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		wantHops(t, mustHops(t, r, Target{Host: "plain.example"}), "udp:192.0.2.9:5060")
	})
}

func TestParserFaultCostsOneLookup(t *testing.T) {
	r := newResolver(t, Config{Exchange: func(context.Context, *dns.Msg, string) (*dns.Msg, error) { panic("index out of range") }})
	if _, err := r.Hops(t.Context(), Target{Host: "pbx.example"}); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	z := newZone(t, pbx...)
	clock := newClock()
	r := newResolver(t, Config{Exchange: z.exchange, Now: clock.now, MaxEntries: 8})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				hops, err := r.Hops(t.Context(), Target{Host: []string{"srv.example", "naptr.example", "plain.example"}[i%3]})
				if err != nil {
					t.Error(err)
					return
				}
				r.Failed(hops[i%len(hops)])
				r.Succeeded(hops[0])
				r.Addresses(t.Context(), "srv.example")
				clock.pass(time.Second)
			}
		})
	}
	wg.Wait()
}
