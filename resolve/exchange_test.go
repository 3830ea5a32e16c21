package resolve

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestTruncatedAnswerIsAskedForByTCP(t *testing.T) {
	var lines []string
	for i := range 60 {
		lines = append(lines, fmt.Sprintf(`_sip._udp.long.example. 60 SRV %d 1 %d with-a-long-name-%d.long.example.`, i, 5060+i, i))
		lines = append(lines, fmt.Sprintf(`with-a-long-name-%d.long.example. 60 A 192.0.2.1`, i))
	}
	z := newZone(t, lines...)
	var tcp atomic.Int32
	z.answer = func(w dns.ResponseWriter, q *dns.Msg) bool {
		if w.LocalAddr().Network() == "tcp" {
			tcp.Add(1)
		}
		return false
	}
	r := newResolver(t, Config{Servers: []string{serve(t, z)}, Transports: []string{"udp"}, Network: "ip4"})
	hops := mustHops(t, r, Target{Host: "long.example"})
	if tcp.Load() != 1 || len(hops) != 16 || hops[15] != "udp:192.0.2.1:5075" {
		t.Errorf("%d questions by TCP, hops %v", tcp.Load(), hops)
	}
}

func TestDeadServerIsPassedOver(t *testing.T) {
	dead := silent(t)
	z := newZone(t, pbx...)
	alive := serve(t, z)
	c := newClock()
	r := newResolver(t, Config{Servers: []string{dead, alive}, Timeout: 300 * time.Millisecond, Now: c.now, Network: "ip4"})
	wantHops(t, mustHops(t, r, Target{Host: "plain.example"}), "udp:192.0.2.9:5060")

	// It is not waited for again: the order is the other one now.
	if got := r.down.order(r.servers(), c.now()); got[0] != alive || got[1] != dead {
		t.Errorf("asks %v", got)
	}
	c.pass(30 * time.Second)
	if got := r.down.order(r.servers(), c.now()); got[0] != dead {
		t.Errorf("asks %v, the first server has no second chance", got)
	}
}

func TestNoServerAnswers(t *testing.T) {
	a, b := silent(t), silent(t)
	r := newResolver(t, Config{Servers: []string{a, b}, Timeout: 20 * time.Millisecond, Attempts: 1})
	_, err := r.Hops(t.Context(), Target{Host: "pbx.example", Port: 5060})
	want := fmt.Sprintf("resolve sip:pbx.example:5060: A pbx.example: no usable answer from a name server: nothing came within 20ms "+
		"(asked %s, %s)", a, b)
	if !errors.Is(err, ErrNoAnswer) || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

func TestServerThatRefusesIsPassedOver(t *testing.T) {
	for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented, dns.RcodeFormatError, dns.RcodeNotAuth} {
		refusing := serve(t, dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg)
			m.SetRcode(q, rcode)
			w.WriteMsg(m)
		}))
		r := newResolver(t, Config{Servers: []string{refusing, serve(t, newZone(t, pbx...))}, Network: "ip4"})
		wantHops(t, mustHops(t, r, Target{Host: "plain.example"}), "udp:192.0.2.9:5060")

		r = newResolver(t, Config{Servers: []string{refusing}, Attempts: 1})
		_, err := r.Hops(t.Context(), Target{Host: "plain.example"})
		if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "the server answered "+rcodeText(rcode)) {
			t.Errorf("rcode %d: %v", rcode, err)
		}
	}
}

func TestReferralIsNoAnswer(t *testing.T) {
	lame := serve(t, dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		w.WriteMsg(m)
	}))
	r := newResolver(t, Config{Servers: []string{lame, serve(t, newZone(t, pbx...))}, Network: "ip4"})
	wantHops(t, mustHops(t, r, Target{Host: "plain.example"}), "udp:192.0.2.9:5060")
}

func TestServerWithoutEDNSIsAskedWithout(t *testing.T) {
	z := newZone(t, pbx...)
	z.answer = func(w dns.ResponseWriter, q *dns.Msg) bool {
		if q.IsEdns0() == nil {
			return false
		}
		m := new(dns.Msg)
		m.SetRcodeFormatError(q)
		w.WriteMsg(m)
		return true
	}
	r := newResolver(t, Config{Servers: []string{serve(t, z)}, Network: "ip4"})
	wantHops(t, mustHops(t, r, Target{Host: "plain.example"}), "udp:192.0.2.9:5060")
}

func TestForgedDatagramsAreSkipped(t *testing.T) {
	z := newZone(t, pbx...)
	z.answer = func(w dns.ResponseWriter, q *dns.Msg) bool {
		if w.LocalAddr().Network() != "udp" {
			return false
		}
		forge := func(change func(m *dns.Msg)) {
			m := new(dns.Msg)
			m.SetReply(q)
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 A 203.0.113.66")
			m.Answer = append(m.Answer, rr)
			change(m)
			w.WriteMsg(m)
		}
		forge(func(m *dns.Msg) { m.Id++ })
		forge(func(m *dns.Msg) { m.Question[0].Name = "other.example." })
		forge(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT })
		forge(func(m *dns.Msg) { m.Question = nil })
		forge(func(m *dns.Msg) { m.Response = false })
		forge(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })
		w.Write([]byte{1, 2, 3})
		w.Write([]byte{byte(q.Id >> 8), byte(q.Id), 0x80, 0, 0, 9, 0, 9, 0, 9, 0, 9, 0xc0})
		return false
	}
	r := newResolver(t, Config{Servers: []string{serve(t, z)}, Network: "ip4", Attempts: 1})
	wantHops(t, mustHops(t, r, Target{Host: "plain.example", Port: 5060}), "udp:192.0.2.9:5060")
}

func TestQuestionsHaveRandomIDsAndPorts(t *testing.T) {
	ids, ports := map[uint16]bool{}, map[string]bool{}
	z := newZone(t, pbx...)
	z.answer = func(w dns.ResponseWriter, q *dns.Msg) bool {
		z.mu.Lock()
		defer z.mu.Unlock()
		_, port, _ := net.SplitHostPort(w.RemoteAddr().String())
		ids[q.Id], ports[port] = true, true
		return false
	}
	server := serve(t, z)
	for range 10 {
		r := newResolver(t, Config{Servers: []string{server}, Network: "ip4"})
		mustHops(t, r, Target{Host: "plain.example"})
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if len(ids) < 30 || len(ports) < 20 {
		t.Errorf("40 questions had %d ids and %d source ports", len(ids), len(ports))
	}
}

func TestRecordsOfOtherNamesAreIgnored(t *testing.T) {
	z := newZone(t)
	z.answer = func(w dns.ResponseWriter, q *dns.Msg) bool {
		m := z.reply(q)
		m.Rcode, m.Ns = dns.RcodeSuccess, nil
		for _, text := range []string{"evil.example. 60 A 203.0.113.66", "evil.example. 60 CNAME x.example.", "x.example. 60 A 203.0.113.67"} {
			rr, _ := dns.NewRR(text)
			m.Answer = append(m.Answer, rr)
		}
		chaos, _ := dns.NewRR("pbx.example. 60 CH A 203.0.113.68")
		if chaos != nil {
			m.Answer = append(m.Answer, chaos)
		}
		m.Extra = append(m.Extra, m.Answer...)
		w.WriteMsg(m)
		return true
	}
	r := newResolver(t, Config{Servers: []string{serve(t, z)}})
	if hops, err := r.Hops(t.Context(), Target{Host: "pbx.example"}); !errors.Is(err, ErrNoRecord) {
		t.Errorf("got %v, %v", hops, err)
	}
}

func TestAliasesAreFollowedAndBounded(t *testing.T) {
	var lines []string
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("long%d.example. 60 CNAME long%d.example.", i, i+1))
	}
	z := newZone(t, append(lines,
		"loop.example. 60 CNAME pool.example.", "pool.example. 60 CNAME loop.example.",
		"self.example. 60 CNAME self.example.",
		"three.example. 60 CNAME two.example.", "two.example. 60 CNAME one.example.", "one.example. 60 A 192.0.2.1")...)
	for _, whole := range []bool{true, false} {
		if !whole { // the server leaves it to us to follow
			z.answer = func(w dns.ResponseWriter, q *dns.Msg) bool {
				m := z.reply(q)
				m.Answer = m.Answer[:min(1, len(m.Answer))]
				w.WriteMsg(m)
				return true
			}
		}
		server := serve(t, z)
		for _, name := range []string{"long0", "loop", "self"} {
			r := newResolver(t, Config{Servers: []string{server}, Network: "ip4"})
			if hops, err := r.Hops(t.Context(), Target{Host: name + ".example", Port: 5060}); err == nil {
				t.Errorf("%s: got %v", name, hops)
			}
			if asked := z.questions(); len(asked) > 8 {
				t.Errorf("%s: %d questions", name, len(asked))
			}
		}
		r := newResolver(t, Config{Servers: []string{server}, Network: "ip4"})
		wantHops(t, mustHops(t, r, Target{Host: "three.example", Port: 5060}), "udp:192.0.2.1:5060")
		z.questions()
	}
}

func TestSRVThatPointsToItselfEnds(t *testing.T) {
	z := newZone(t,
		`loop.example. 60 NAPTR 1 1 "s" "SIP+D2U" "" loop.example.`,
		`loop.example. 60 NAPTR 2 1 "s" "SIP+D2U" "" _sip._udp.loop.example.`,
		`_sip._udp.loop.example. 60 SRV 1 1 5060 _sip._udp.loop.example.`,
		`_sip._udp.loop.example. 60 SRV 1 1 5060 loop.example.`)
	r := newResolver(t, Config{Exchange: z.exchange})
	if hops, err := r.Hops(t.Context(), Target{Host: "loop.example"}); !errors.Is(err, ErrNoRecord) {
		t.Errorf("got %v, %v", hops, err)
	}
	r.running.Wait() // what is looked up ahead, and not needed here, may just have begun
	want := []string{"A _sip._udp.loop.example", "A loop.example", "AAAA _sip._udp.loop.example", "AAAA loop.example",
		"NAPTR loop.example", "SRV _sip._tcp.loop.example", "SRV _sip._udp.loop.example", "SRV loop.example"}
	if got := z.questions(); !slices.Equal(got, want) {
		t.Errorf("asked %v", got)
	}
}
