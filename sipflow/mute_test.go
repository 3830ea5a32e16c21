package sipflow

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// sdpAs is sdpOf with the direction of its stream.
func sdpAs(port int, direction string) string {
	return strings.Replace(sdpOf(port), "a=sendrecv", "a="+direction, 1)
}

// says checks the direction that a description has.
func says(t *testing.T, who string, m *wire.Message, want string) {
	t.Helper()
	d := sdp.Directions(m.Body())
	if len(d) == 0 || d[0].String() != want {
		t.Errorf("%s is told\n%s\nwant %s", who, m.Body(), want)
	}
}

// muting starts Mute; what it returns waits for its end.
func (p *rawPair) muting(m Mute) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- p.call.Mute(p.t.Context(), m) }()
	return func() error { return <-done }
}

// mute has A answer the INVITE that mutes it.
func (p *rawPair) mute(m Mute, told, answer string) {
	p.t.Helper()
	wait := p.muting(m)
	invite := p.a.expect("INVITE")
	says(p.t, "A", invite, told)
	p.a.ok(invite, "", answer)
	p.a.expect("ACK")
	if err := wait(); err != nil {
		p.t.Errorf("Mute(%d): %v", m, err)
	}
}

// reinvite has one phone offer, the other one answer. told is what the answering
// one is offered, back what the offering one gets.
func (p *rawPair) reinvite(from, to *rawPhone, seq int, offer, told, answer, back string) {
	p.t.Helper()
	from.send(from.inDialog("INVITE", seq, sdpHeader, offer))
	m := to.expect("INVITE")
	says(p.t, "the other phone", m, told)
	to.ok(m, "", answer)
	to.expect("ACK")
	says(p.t, "the phone", from.response1(200), back)
	from.send(from.ack(seq, ""))
	synctest.Wait()
}

func TestMute(t *testing.T) {
	const speaking, listening = MuteSpeaking, MuteListening
	for _, tt := range []struct {
		name string
		do   func(p *rawPair)
	}{
		{"each mode is told by the direction of what we send, and taken back", func(p *rawPair) {
			p.mute(speaking, "sendonly", sdpAs(4001, "recvonly"))
			p.mute(listening, "recvonly", sdpAs(4001, "sendonly"))
			p.mute(speaking|listening, "inactive", sdpAs(4001, "inactive"))
			p.mute(0, "sendrecv", sdpOf(4001))
			p.b.quiet(5 * time.Second) // for whom nothing has changed
		}},
		{"a muted phone that says its direction again is heard again", func(p *rawPair) {
			p.mute(speaking, "sendonly", sdpAs(4001, "recvonly"))
			p.reinvite(p.a, p.b, 1, sdpAs(4001, "recvonly"), "sendrecv", sdpOf(5000), "sendonly")
			p.reinvite(p.b, p.a, 1, sdpOf(5000), "sendonly", sdpAs(4001, "recvonly"), "sendrecv")
			p.mute(0, "sendrecv", sdpOf(4001))
			p.b.quiet(5 * time.Second)
		}},
		{"a muted phone holds the other and takes it back", func(p *rawPair) {
			p.mute(speaking, "sendonly", sdpAs(4001, "recvonly"))
			p.reinvite(p.a, p.b, 1, sdpAs(4001, "sendonly"), "sendonly", sdpAs(5000, "recvonly"), "inactive")
			p.reinvite(p.a, p.b, 2, sdpOf(4001), "sendrecv", sdpOf(5000), "sendonly")
			p.mute(0, "sendrecv", sdpOf(4001))
			p.b.quiet(5 * time.Second)
		}},
		{"a phone that holds the other stays so when it is not muted any more", func(p *rawPair) {
			p.reinvite(p.a, p.b, 1, sdpAs(4001, "inactive"), "inactive", sdpAs(5000, "inactive"), "inactive")
			p.mute(speaking, "inactive", sdpAs(4001, "inactive"))
			p.mute(0, "inactive", sdpAs(4001, "inactive"))
			p.b.quiet(5 * time.Second)
		}},
		{"a phone is muted while the other holds it", func(p *rawPair) {
			p.mute(speaking|listening, "inactive", sdpAs(4001, "inactive"))
			p.reinvite(p.b, p.a, 1, sdpAs(5000, "sendonly"), "inactive", sdpAs(4001, "inactive"), "recvonly")
			p.reinvite(p.b, p.a, 2, sdpOf(5000), "inactive", sdpAs(4001, "inactive"), "recvonly")
			wait := p.muting(0)
			invite := p.a.expect("INVITE")
			says(p.t, "A", invite, "sendrecv")
			p.a.ok(invite, "", sdpOf(4001))
			p.a.expect("ACK")
			if err := wait(); err != nil {
				p.t.Error(err)
			}
			told := p.b.expect("INVITE") // what it could not know before
			says(p.t, "B", told, "sendrecv")
			p.b.ok(told, "", sdpOf(5000))
			p.b.expect("ACK")
		}},
		{"a phone that moves its media when it is muted is heard from there", func(p *rawPair) {
			p.mute(listening, "recvonly", sdpAs(4009, "sendonly"))
			told := p.b.expect("INVITE")
			says(p.t, "B", told, "sendrecv")
			if !strings.Contains(string(told.Body()), "m=audio 4009 ") {
				p.t.Errorf("B is told\n%s", told.Body())
			}
			p.b.ok(told, "", sdpOf(5000))
			p.b.expect("ACK")
		}},
		{"a phone offers in its answer to an INVITE without an offer", func(p *rawPair) {
			p.mute(speaking, "sendonly", sdpAs(4001, "recvonly"))
			p.b.send(p.b.inDialog("INVITE", 1, "", ""))
			m := p.a.expect("INVITE")
			p.a.ok(m, "", sdpAs(4001, "recvonly"))
			says(p.t, "B", p.b.response1(200), "sendrecv")
			p.b.send(p.b.ack(1, sdpOf(5000)))
			says(p.t, "A", p.a.expect("ACK"), "sendonly")
			synctest.Wait()
			p.mute(0, "sendrecv", sdpOf(4001))
			p.b.quiet(5 * time.Second)
		}},
		{"what is asked for twice at once is done once, and what is refused is not done", func(p *rawPair) {
			first := p.muting(speaking)
			invite := p.a.expect("INVITE")
			second := p.muting(speaking)
			synctest.Wait()
			p.a.send(p.a.response(invite, 488, "", ""))
			p.a.expect("ACK")
			var refused *StatusError
			if err := first(); !errors.As(err, &refused) || refused.Code != 488 {
				p.t.Errorf("the first: %v", err)
			}
			again := p.a.expect("INVITE")
			says(p.t, "A", again, "sendonly")
			p.a.ok(again, "", sdpAs(4001, "recvonly"))
			p.a.expect("ACK")
			if err := second(); err != nil {
				p.t.Errorf("the second: %v", err)
			}
		}},
		{"glare", func(p *rawPair) {
			wait := p.muting(speaking)
			p.a.send(p.a.response(p.a.expect("INVITE"), 491, "", ""))
			p.a.expect("ACK")
			start := time.Now()
			again := p.a.expect("INVITE")
			if d := time.Since(start); d < 2*time.Second || d > 4100*time.Millisecond {
				p.t.Errorf("again after %v", d)
			}
			p.a.ok(again, "", sdpAs(4001, "recvonly"))
			p.a.expect("ACK")
			if err := wait(); err != nil {
				p.t.Error(err)
			}
		}},
		{"the phone hangs up meanwhile", func(p *rawPair) {
			wait := p.muting(speaking)
			p.a.expect("INVITE")
			p.a.send(p.a.inDialog("BYE", 1, "", ""))
			p.a.response1(200)
			if err := wait(); !errors.Is(err, ErrNoCall) {
				p.t.Errorf("Mute: %v", err)
			}
			p.b.hungUp()
			<-p.call.Done()
		}},
		{"the client gives up waiting, and the phone is muted all the same", func(p *rawPair) {
			ctx, stop := context.WithTimeout(p.t.Context(), 300*time.Millisecond)
			defer stop()
			if err := p.call.Mute(ctx, speaking); !errors.Is(err, context.DeadlineExceeded) {
				p.t.Errorf("Mute: %v", err)
			}
			p.a.ok(p.a.expect("INVITE"), "", sdpAs(4001, "recvonly"))
			p.a.expect("ACK")
			if err := p.call.Mute(p.t.Context(), speaking); err != nil {
				p.t.Errorf("Mute: %v", err)
			}
		}},
		{"a call that is over takes no orders", func(p *rawPair) {
			p.call.HangUp(ErrHungUpByUser)
			p.a.hungUp()
			p.b.hungUp()
			<-p.call.Done()
			if err := p.call.Mute(p.t.Context(), speaking); !errors.Is(err, ErrNoCall) {
				p.t.Errorf("Mute: %v", err)
			}
			if err := p.call.SendDTMF(p.t.Context(), '1', DTMFRelay); !errors.Is(err, ErrNoCall) {
				p.t.Errorf("SendDTMF: %v", err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			byHand(t, func(t *testing.T, p *rawPair) {
				p.up()
				tt.do(p)
				select {
				case <-p.call.Done():
				default:
					p.hangUp()
				}
			})
		})
	}
}
