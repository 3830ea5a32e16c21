package sipflow

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

// Every call is counted once, by what it came to.
func TestStatsTellWhatCallsCameTo(t *testing.T) {
	cases := []struct {
		name   string
		script siptest.Script
		during func(r *rig, c *Call)
		want   CallOutcome
	}{
		{name: "connected", script: siptest.Script{Ring: time.Second}, want: OutcomeConnected},
		{name: "busy", script: siptest.Script{Status: 486}, want: OutcomeBusy},
		{name: "moved", script: siptest.Script{Status: 302}, want: OutcomeRefused3xx},
		{name: "not found", script: siptest.Script{Status: 404}, want: OutcomeRefused4xx},
		{name: "broken", script: siptest.Script{Status: 500}, want: OutcomeRefused5xx},
		{name: "declined", script: siptest.Script{Status: 603}, want: OutcomeRefused6xx},
		{name: "no answer", script: siptest.Script{Ring: time.Hour}, want: OutcomeNoAnswer},
		{name: "ended by its client", script: siptest.Script{Ring: time.Hour}, want: OutcomeHungUpByUser,
			during: func(r *rig, c *Call) { r.sw.HangUp(context.Background(), c.Key) }},
		{name: "replaced", script: siptest.Script{Ring: time.Hour}, want: OutcomeReplaced,
			during: func(r *rig, c *Call) { r.place(spec()) }},
		{name: "says nothing after the REFER", script: siptest.Script{Refer: siptest.Refer{NoNotify: true}}, want: OutcomeTimeout},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, phoneAddr)
				defer r.stop()
				phone := n.Phone("201", phoneAddr, tt.script)
				defer phone.Close()
				c := r.place(spec())
				if s := r.sw.Stats(); s.Calls.Active != 1 || s.Calls.Placed[FlowRefer] != 1 || s.Legs != 1 {
					t.Errorf("while it rings: %d active, %d placed, %d legs; want one of each", s.Calls.Active, s.Calls.Placed[FlowRefer], s.Legs)
				}
				if tt.during != nil {
					time.Sleep(time.Second)
					tt.during(r, c)
				}
				<-c.Done()
				if got := r.sw.Stats().Calls.Ended[FlowRefer][tt.want]; got != 1 {
					t.Errorf("%d calls are counted as %v: %v", got, tt.want, r.sw.Stats().Calls.Ended)
				}
				time.Sleep(10 * time.Minute)
			})
		})
	}
}

// A BYE that the phone refuses does not make a failure of a call that was connected.
func TestStatsCallConnectedWhoseByeIsRefusedIsConnected(t *testing.T) {
	c := &Call{sw: &Switchboard{}}
	c.sw.stats.start = time.Now()
	c.connected()
	c.cameTo(&StatusError{"BYE", 481, "gone"})
	if c.outcome != OutcomeConnected {
		t.Errorf("it came to %v", c.outcome)
	}
}

func TestStatsKnowEveryReason(t *testing.T) {
	for err, want := range map[error]CallOutcome{
		ErrDraining:                         OutcomeDraining,
		ErrHungUp:                           OutcomeHungUp,
		fmt.Errorf("x: %w", errLost):        OutcomeUnreachable,
		unreachable(errors.New("no route")): OutcomeUnreachable,
		errExpired:                          OutcomeTimeout,
		&StatusError{"INVITE", 600, ""}:     OutcomeBusy,
		&StatusError{"REFER", 408, ""}:      OutcomeTimeout,
		&StatusError{"INVITE", 999, ""}:     OutcomeFailed,
		errNoSDP:                            OutcomeFailed,
		errors.Join(ErrReplaced, ErrHungUp): OutcomeReplaced,
	} {
		if got := outcomeOf(err); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
}

// Every value of an enumeration has a name of its own.
func TestStatsNamesAreDistinct(t *testing.T) {
	distinct := func(n int, name func(int) string) {
		t.Helper()
		seen := map[string]bool{}
		for i := range n {
			if s := name(i); s == "" || seen[s] {
				t.Errorf("value %d is called %q", i, s)
			} else {
				seen[s] = true
			}
		}
	}
	distinct(int(numFlowKinds), func(i int) string { return FlowKind(i).String() })
	distinct(int(numRefusals), func(i int) string { return Refusal(i).String() })
	distinct(int(numOutcomes), func(i int) string { return CallOutcome(i).String() })
	distinct(int(numStrays), func(i int) string { return Stray(i).String() })
	distinct(int(numVerdicts), func(i int) string { return Verdict(i).String() })
	distinct(int(transport.NumKinds), func(i int) string { return transport.Kind(i).String() })
	distinct(int(numLimits), func(i int) string { return Limit(i).String() })
	for i, name := range methodNames[1:] {
		if got := methodOf(name); int(got) != i+1 {
			t.Errorf("%s is counted as %v", name, got)
		}
	}
}

// The phone answers after 2 s and says half a second later that the other one rings.
func TestStatsTellSetUpTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		phone := n.Phone("201", phoneAddr, siptest.Script{Ring: 2 * time.Second})
		defer phone.Close()
		<-r.place(spec()).Done()
		s := r.sw.Stats()
		answered, connected := s.Calls.Answered[FlowRefer], s.Calls.Connected[FlowRefer]
		if answered.Sum < 2*time.Second || answered.Sum > 2100*time.Millisecond {
			t.Errorf("it was answered after %v", answered.Sum)
		}
		if connected.Sum <= answered.Sum {
			t.Errorf("answered after %v, connected after %v", answered.Sum, connected.Sum)
		}
		for i, count := range answered.Buckets {
			within := i < len(answered.Bounds) && answered.Sum <= answered.Bounds[i] && (i == 0 || answered.Sum > answered.Bounds[i-1])
			if (count == 1) != within {
				t.Errorf("bucket %d holds %d of %v", i, count, answered.Sum)
			}
		}
		time.Sleep(10 * time.Minute)
	})
}

// What goes over the wire: challenges, repeats of lost messages, strays and noise.
func TestStatsCountMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		phone := n.Phone("201", phoneAddr, siptest.Script{Challenge: challenged, Ring: time.Second})
		defer phone.Close()
		<-r.place(spec()).Done()
		time.Sleep(time.Minute)
		s := r.sw.Stats()
		if got := s.Challenges[ChallengeAnswered]; got != 3 { // INVITE, REFER, BYE
			t.Errorf("%d challenges answered, want 3", got)
		}
		if got := s.ClientStarted[methodOf("INVITE")]; got != 2 {
			t.Errorf("%d INVITEs, want 2", got)
		}
		udp := s.Messages[transport.KindUDP]
		if udp.In == 0 || udp.Out == 0 || udp.In != s.Responses[1]+s.Responses[2]+s.Responses[4]+s.Requests[methodOf("NOTIFY")] {
			t.Errorf("%+v, responses %v, requests %v", udp, s.Responses, s.Requests)
		}
		if s.Answers[2] != s.Requests[methodOf("NOTIFY")] {
			t.Errorf("%d NOTIFYs, %d answers", s.Requests[methodOf("NOTIFY")], s.Answers[2])
		}
		if s.Repeated+s.Repeats+s.Timeouts != 0 {
			t.Errorf("%d repeated, %d repeats, %d timeouts without loss", s.Repeated, s.Repeats, s.Timeouts)
		}

		stranger := n.Listen("10.0.0.66:5060")
		defer stranger.Close()
		to := netip.MustParseAddrPort(ourAddr)
		for _, text := range []string{
			"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK0123456789abcdef\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n" +
				"Call-ID: x\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
			"BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.66:5060;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: " +
				"x\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
			"EVIL sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.66:5060;branch=z9hG4bK2\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: y\r\n" +
				"CSeq: 1 EVIL\r\nContent-Length: 0\r\n\r\n",
			"INVITE sip:a@b SIP/2.0\r\nVia: nonsense\r\nCSeq: 1 ACK\r\n\r\n",
		} {
			stranger.WriteToUDPAddrPort([]byte(text), to)
		}
		time.Sleep(time.Second)
		after := r.sw.Stats()
		if after.Strays[StrayResponse]-s.Strays[StrayResponse] != 1 || after.Strays[StrayRequest]-s.Strays[StrayRequest] != 1 {
			t.Errorf("strays %v, before %v; want one more of each", after.Strays, s.Strays)
		}
		if after.Requests[0] != 1 {
			t.Errorf("%d requests of unknown methods, want 1", after.Requests[0])
		}
		if after.Messages[transport.KindUDP].Malformed != 1 {
			t.Errorf("%d malformed, want 1", after.Messages[transport.KindUDP].Malformed)
		}
	})
}

// A phone that does not respond is asked again, seven times an INVITE, and then
// given up.
func TestStatsCountRepeatsAndTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		n.Forget = true
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		silent := n.Listen(phoneAddr)
		defer silent.Close()
		<-r.place(spec(func(s *Spec) { s.Timeout = time.Minute })).Done()
		s := r.sw.Stats()
		if s.Repeated != 6 && s.Repeated != 7 || s.Timeouts != 1 || s.Calls.Ended[FlowRefer][OutcomeTimeout] != 1 {
			t.Errorf("%d repeated, %d timeouts, ended %v", s.Repeated, s.Timeouts, s.Calls.Ended[FlowRefer])
		}
		if s.Avoided != 1 {
			t.Errorf("%d hops are avoided, want 1", s.Avoided)
		}
	})
}

// Calls beyond a limit are refused and counted as such.
func TestStatsCountRefusedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr, func(c *Config) { c.MaxCalls = 1 })
		defer r.stop()
		phone := n.Phone("201", phoneAddr, siptest.Script{Ring: time.Second})
		defer phone.Close()
		c := r.place(spec())
		if _, err := r.sw.Place(t.Context(), spec(func(s *Spec) { s.Called = "203@sipx.test" }), Refer); !errors.Is(err, ErrTooManyCalls) {
			t.Errorf("Place: %v", err)
		}
		<-c.Done()
		r.sw.Drain()
		if _, err := r.sw.Place(t.Context(), spec(), Refer); !errors.Is(err, ErrDraining) {
			t.Errorf("Place: %v", err)
		}
		s := r.sw.Stats()
		if s.Refused[RefusedTooMany] != 1 || s.Limited[LimitCalls] != 1 || s.Refused[RefusedDraining] != 1 || !s.Draining {
			t.Errorf("refused %v, limited %v, draining %v", s.Refused, s.Limited, s.Draining)
		}
		time.Sleep(10 * time.Minute)
	})
}
