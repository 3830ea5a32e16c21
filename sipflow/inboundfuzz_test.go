package sipflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// FuzzInbound has a caller, and the target that it is connected to, say
// anything that fits their dialogs but for what is drawn otherwise. Nothing
// panics, all that is sent can be read, no message makes many, and nothing is
// left when the caller has given up. take is what becomes of the call.
func FuzzInbound(f *testing.F) {
	for take := range byte(inboundTakes) {
		for seed := range uint64(100) {
			f.Add(take, seed, []byte("\"<;,"))
		}
	}
	f.Fuzz(func(t *testing.T, take byte, seed uint64, odd []byte) {
		if len(odd) > 1000 || bytes.ContainsAny(odd, "\r\n") {
			return
		}
		r := rand.New(rand.NewPCG(seed, uint64(take)))
		messages := make([]string, 1+r.IntN(8))
		for i := range messages {
			messages[i] = inboundMessage(r, i, string(odd))
		}
		synctest.Test(t, func(t *testing.T) { fuzzInbound(t, take%inboundTakes, messages) })
	})
}

// inboundMessage draws the nth message of a caller, or with @ of the target.
// $t is our tag in the caller's dialog, $r the RAck of the latest reliable
// response; the rest is as FuzzReceive has it.
func inboundMessage(r *rand.Rand, n int, odd string) string {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	rarely := func(odd, usual string) string {
		if r.IntN(30) == 0 {
			return odd
		}
		return usual
	}
	switch from := r.IntN(6); {
	case n > 0 && from == 0: // anything of the target's
		return "@" + strings.TrimPrefix(string(conversation(r, n, odd)), "@")
	case n == 1, n > 0 && from < 3: // its response
		m := "@SIP/2.0 " + one("180", "183", "183", "200", "200", "200", "200", "486", "302", "401", "503") +
			" Text\r\nVia: $v\r\nFrom: $o\r\nTo: " + rarely("<sip:x>;tag="+odd, "$p") +
			"\r\nCall-ID: $c\r\nCSeq: $n $m\r\nContact: " + rarely(odd, "<sip:202@10.0.0.3:5060>") + "\r\nX-Odd: " + odd + "\r\n"
		if r.IntN(3) == 0 {
			m += "Require: 100rel\r\nRSeq: " + number(r) + "\r\n"
		}
		if r.IntN(4) > 0 {
			return m + "Content-Type: " + rarely(odd, "application/sdp") + "\r\n\r\n" + one(sdpOf(1), twoStreams, sdpOf(2))
		}
		return m + "\r\n"
	}
	method := one("INVITE", "CANCEL", "ACK", "ACK", "ACK", "PRACK", "PRACK", "BYE", "UPDATE", "INFO", "REFER", "NOTIFY")
	seq, tag := n+1, ";tag=$t"
	if n == 0 {
		method, tag = "INVITE", ""
	}
	switch method {
	case "CANCEL":
		seq, tag = 1, ""
	case "ACK":
		seq = 1 + r.IntN(2)*n
	case "INVITE":
		if r.IntN(3) == 0 {
			seq, tag = 1, "" // again
		}
	}
	var b strings.Builder
	branch := rarely(odd, one("b1", "b1", fmt.Sprint("b", n)))
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK%s;rport\r\nFrom: %s\r\nTo: <sip:room@10.0.0.1>%s\r\n"+
		"Call-ID: %s\r\nCSeq: %d %s\r\n",
		method, rarely(odd, "sip:room@10.0.0.1:5060"), branch, rarely("<sip:x@y>;tag="+odd, "\"Jo\" <sip:201@10.0.0.2>;tag=f1"),
		rarely(";tag="+odd, tag), rarely(odd, "c1"), seq, method)
	b.WriteString("Contact: " + rarely(odd, "<sip:201@10.0.0.2:5060>") + "\r\n")
	if method == "PRACK" {
		b.WriteString("RAck: " + rarely(odd, "$r") + "\r\n")
	}
	for _, h := range [...]struct{ name, usual string }{
		{"Max-Forwards", one("0", "1", "70")}, {"Supported", "timer, 100rel"}, {"Supported", "100rel"}, {"Require", "100rel"},
		{"Session-Expires", number(r) + ";refresher=" + one("uac", "uas")},
		{"Record-Route", "<sip:10.0.0.2;lr>"}, {"Record-Route", "<sip:10.0.0.2>"}, {"Expires", one("1", "60")}, {"Subject", odd}, {"X-Odd", odd},
		{"Diversion", "<sip:" + odd + ">"},
		{"Reason", "SIP;cause=" + number(r)}, {"Replaces", "a;to-tag=$t;from-tag=" + odd}, {"Refer-To", "<sip:" + odd + "@x>"},
		{"Allow", "INVITE, UPDATE"},
		{"Authorization", `Digest username="` + odd + `", realm="sipx.test", nonce="x", uri="x", response="y"`}, {loopField, odd},
	} {
		if r.IntN(8) == 0 && (h.name != "Replaces" || n > 0) {
			b.WriteString(h.name + ": " + rarely(odd, h.usual) + "\r\n")
		}
	}
	body := one("", twoStreams, sdpOf(1), sdpOf(1), odd)
	switch {
	case method == "INFO":
		b.WriteString("Content-Type: " + one("application/dtmf", "application/dtmf-relay") + "\r\n")
		body = one("5", "Signal=5\r\n", "Signal="+odd, odd)
	case body != "":
		b.WriteString("Content-Type: " + rarely(odd, "application/sdp") + "\r\n")
	}
	return b.String() + "\r\n" + body
}

const inboundTakes = 4

// fuzzTake is what becomes of the call.
func fuzzTake(take byte) func(ctx context.Context, in *Incoming) error {
	to := Destination{URI: uri202, RingTime: 10 * time.Second, DisplayName: "x"}
	return func(ctx context.Context, in *Incoming) error {
		switch take {
		case 1:
			if err := in.AnswerHeld(ctx); err != nil {
				return err
			}
			wait, stop := context.WithTimeout(ctx, 100*time.Millisecond)
			defer stop()
			in.Digit(wait) //nolint:errcheck // it is connected either way
		case 2:
			if err := in.Ring(); err != nil {
				return err
			}
			<-ctx.Done()
		case 3:
			if err := in.Connect(ctx, to); err == nil {
				return nil
			}
			return errors.Join(in.Connect(ctx, Destination{URI: uri203}), in.Redirect("sip:x@y"))
		}
		return in.Connect(ctx, to)
	}
}

func fuzzInbound(t *testing.T, take byte, messages []string) {
	n := siptest.NewNetwork()
	n.Delay = time.Microsecond
	caller, target := rawUDP(t, n, phoneAddr), rawUDP(t, n, calledAddr)
	// Refused at once: a bubble's clock stands still while it waits for a real server.
	nameless, err := resolve.New(resolve.Config{Servers: []string{"127.0.0.1:1"}, HostsFile: "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	defer nameless.Close()
	r := newRig(t, n, "", func(c *Config) {
		c.Resolver = nameless
		c.Inbound = &Inbound{Take: fuzzTake(take), Secrets: func(string) (Credentials, bool) { return Credentials{}, false },
			Admit: func(in *Incoming) Admission {
				if len(in.Header("Authorization")) > 0 {
					return Challenge
				}
				return Trusted
			}}
	})
	tag, rack := "x", "1 1 INVITE"
	var asked *wire.Message // of the target
	for _, m := range messages {
		from := caller
		if rest, ok := strings.CutPrefix(m, "@"); ok {
			if asked == nil {
				continue
			}
			m, from = expand(rest, asked), target
		} else {
			m = strings.NewReplacer("$t", tag, "$r", rack).Replace(m)
		}
		from.send(m)
		time.Sleep(30 * time.Millisecond)
		synctest.Wait()
		for _, p := range n.Packets() {
			m, err := wire.Parse(bytes.Clone(p.Data))
			if p.From.String() != ourAddr || err != nil {
				continue
			}
			switch {
			case m.IsRequest() && p.To.String() == calledAddr:
				asked = m
			case !m.IsRequest() && m.Method() == "INVITE" && len(m.ToTag()) > 0 && string(m.Get(wire.CallID)) == "c1":
				tag = string(m.ToTag())
				if rseq := m.Get(wire.RSeq); rseq != nil {
					rack = string(rseq) + " 1 INVITE"
				}
			}
		}
	}
	time.Sleep(100 * time.Second)
	r.sw.mu.Lock()
	for _, c := range r.sw.calls {
		c.stop(ErrHungUpByUser)
	}
	r.sw.mu.Unlock()
	time.Sleep(5 * time.Minute) // a phone may be asked for 3 of them
	synctest.Wait()
	if sent := n.Arrived(); sent > 100*len(messages)+200 {
		t.Errorf("%d messages made %d", len(messages), sent)
	}
	for _, p := range n.Packets() {
		if p.From.String() == ourAddr {
			readable(t, p.Data)
		}
	}
	r.empty()
	r.stop()
}
