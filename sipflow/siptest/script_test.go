package siptest_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

func TestAnswersByScript(t *testing.T) {
	has := func(name string) func(*sip.Response) bool {
		return func(r *sip.Response) bool { return r.GetHeader(name) != nil }
	}
	not := func(f func(*sip.Response) bool) func(*sip.Response) bool {
		return func(r *sip.Response) bool { return !f(r) }
	}
	for name, tt := range map[string]struct {
		script siptest.Script
		check  func(*sip.Response) bool
	}{
		"with SDP":        {siptest.Script{}, has("Content-Type")},
		"without SDP":     {siptest.Script{NoSDP: true}, not(has("Content-Type"))},
		"own SDP":         {siptest.Script{SDP: "v=0\r\n"}, func(r *sip.Response) bool { return string(r.Body()) == "v=0\r\n" }},
		"without Contact": {siptest.Script{NoContact: true}, not(has("Contact"))},
		"Contact with parameters": {siptest.Script{Contact: "<sip:201@10.0.0.3:5060;ob>;+sip.instance=x"}, func(r *sip.Response) bool {
			return strings.Contains(r.GetHeader("Contact").Value(), ";ob>")
		}},
		"without To-tag":     {siptest.Script{NoToTag: true}, func(r *sip.Response) bool { return !r.To().Params.Has("tag") }},
		"more header fields": {siptest.Script{Header: []sip.Header{sip.NewHeader("X-Test", "1")}}, has("X-Test")},
		"Record-Route": {siptest.Script{RecordRoute: []string{"<sip:10.0.0.3:5060;lr>", "<sip:10.0.0.4;lr>"}}, func(r *sip.Response) bool {
			h := r.GetHeaders("Record-Route")
			return len(h) == 2 && h[0].Value() == "<sip:10.0.0.3:5060;lr>"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, siptest.NewNetwork(), siptest.Script{}, tt.script)
				if err := p.caller.Call(t.Context(), target); err != nil {
					t.Fatal(err)
				}
				if got := p.caller.Answers()[0]; !tt.check(got) {
					t.Errorf("answer:\n%s", got)
				}
			})
		})
	}
}

func TestRequestsGoByTheRecordedRoute(t *testing.T) {
	inBubble(t, siptest.Script{}, siptest.Script{RecordRoute: []string{"<sip:10.0.0.3:5060;lr>"}, Contact: "<sip:202@192.0.2.1:5060>"},
		func(t *testing.T, p *pair) {
			if err := p.caller.Call(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			p.caller.HangUp()
			time.Sleep(time.Minute)
			byes := p.called.Requests(sip.BYE)
			if len(byes) != 1 || byes[0].Recipient.Host != "192.0.2.1" || byes[0].GetHeader("Route") == nil {
				t.Errorf("BYEs %v", byes)
			}
		})
}

func TestProvisionalResponsesByScript(t *testing.T) {
	for name, tt := range map[string]struct {
		script siptest.Script
		want   string
	}{
		"rings":         {siptest.Script{}, "-> INVITE <- 180 Ringing <- 200 OK"},
		"100 first":     {siptest.Script{Trying: true}, "-> INVITE <- 100 Trying <- 180 Ringing <- 200 OK"},
		"early media":   {siptest.Script{Ringing: 183, EarlyMedia: true}, "-> INVITE <- 183 Session Progress <- 200 OK"},
		"none":          {siptest.Script{Ringing: -1}, "-> INVITE <- 200 OK"},
		"never answers": {siptest.Script{Silent: true}, "-> INVITE no answer to INVITE"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, siptest.NewNetwork(), siptest.Script{}, tt.script)
				start := time.Now()
				err := p.caller.Call(t.Context(), target)
				if tt.script.Silent != (err != nil) || tt.script.Silent && time.Since(start) != 32*time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				if got := strings.Join(p.caller.Log(), " "); !strings.HasPrefix(got, tt.want) {
					t.Errorf("got %s", got)
				}
				if tt.script.Silent && p.called.Repeated() != 6 { // at 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s
					t.Errorf("INVITE came %d times again", p.called.Repeated())
				}
			})
		})
	}
}

func TestReferByScript(t *testing.T) {
	odd := []siptest.Notify{{Line: "SIP/2.0 183 Session Progress", State: "-"}, {After: time.Second, Body: "junk", ContentType: "text/plain",
		State: "terminated"}}
	for name, tt := range map[string]struct {
		script   siptest.Refer
		status   int // 0: no response
		notifies int
		last     string
	}{
		"good":          {siptest.Refer{}, 202, 3, "SIP/2.0 200 OK\r\n"},
		"refuses":       {siptest.Refer{Status: 405}, 405, 0, ""},
		"200":           {siptest.Refer{Status: 200}, 200, 3, "SIP/2.0 200 OK\r\n"},
		"never answers": {siptest.Refer{Silent: true}, 0, 0, ""},
		"never reports": {siptest.Refer{NoNotify: true}, 202, 0, ""},
		"reports early": {siptest.Refer{Early: true}, 202, 3, "SIP/2.0 200 OK\r\n"},
		"odd reports":   {siptest.Refer{Notify: odd}, 202, 2, "junk"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, siptest.Script{}, siptest.Script{Refer: tt.script}, func(t *testing.T, p *pair) {
				if err := p.caller.Call(t.Context(), target); err != nil {
					t.Fatal(err)
				}
				res, err := p.caller.Do(t.Context(),
					siptest.Action{Method: sip.REFER, Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:203@10.0.0.4>")}})
				if (err != nil) != (tt.status == 0) || err == nil && res.StatusCode != tt.status {
					t.Errorf("%v %v", res, err)
				}
				time.Sleep(5 * time.Second)
				got := p.caller.Requests(sip.NOTIFY)
				if len(got) != tt.notifies || tt.notifies > 0 && string(got[len(got)-1].Body()) != tt.last {
					t.Errorf("NOTIFYs %v", got)
				}
				log := p.caller.Log()
				if notify, accepted := slices.Index(log, "<- NOTIFY"), slices.Index(log, "<- 202 Accepted"); tt.script.Early != (notify >= 0 &&
					notify < accepted) {
					t.Errorf("log %v", log)
				}
				p.caller.HangUp()
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestByeByScript(t *testing.T) {
	for name, tt := range map[string]struct {
		script siptest.Bye
		status int
	}{
		"200":           {siptest.Bye{}, 200},
		"481":           {siptest.Bye{Status: 481}, 481},
		"never answers": {siptest.Bye{Silent: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, siptest.NewNetwork(), siptest.Script{}, siptest.Script{Bye: tt.script})
				if err := p.caller.Call(t.Context(), target); err != nil {
					t.Fatal(err)
				}
				res, err := p.caller.Do(t.Context(), siptest.Action{Method: sip.BYE})
				if (err != nil) != (tt.status == 0) || err == nil && res.StatusCode != tt.status {
					t.Errorf("%v %v", res, err)
				}
				if p.called.OnHook() == tt.script.Silent {
					t.Error("a phone that never hears BYE stays off hook, any other does not")
				}
				if tt.script.Silent && p.called.Repeated() != 10 { // 0.5, 1.5, 3.5, 7.5, then every 4 s
					t.Errorf("BYE came %d times again", p.called.Repeated())
				}
			})
		})
	}
}

func TestPhoneActsInTheCall(t *testing.T) {
	called := siptest.Script{HangUpAfter: time.Minute, Do: []siptest.Action{
		{After: 1 * time.Second, Method: sip.OPTIONS},
		{After: 2 * time.Second, Method: sip.INFO, Body: "Signal=1", ContentType: "application/dtmf-relay"},
		{After: 3 * time.Second, Method: sip.INVITE},
		{After: 4 * time.Second, Method: sip.MESSAGE, Body: "hello", ContentType: "text/plain"},
	}}
	inBubble(t, siptest.Script{Answers: map[sip.RequestMethod]int{sip.INFO: 415}}, called, func(t *testing.T, p *pair) {
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		var got []int
		for _, r := range p.called.Answers() {
			got = append(got, r.StatusCode)
		}
		if want := []int{200, 415, 200, 200, 200}; !slices.Equal(got, want) {
			t.Errorf("answers %v, want %v", got, want)
		}
		if !p.caller.Acked() {
			t.Error("the re-INVITE's 200 got no ACK")
		}
	})
}

// A request with a number that was used before is refused, and one of no call
// too: what the other side does wrong must show.
func TestPhoneIsStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		var ack string
		n.Observe = func(p siptest.Packet) {
			if p.Method() == "ACK" {
				ack = string(p.Data)
			}
		}
		p := newPair(t, n, siptest.Script{}, siptest.Script{})
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		raw := n.Listen("10.0.0.8:5060")
		defer raw.Close()
		ask := func(change ...string) string {
			req := strings.NewReplacer(append([]string{"ACK sip", "INFO sip", "1 ACK", "1 INFO",
				"SIP/2.0/UDP 10.0.0.2:5060;branch=", "SIP/2.0/UDP 10.0.0.8:5060;branch=z9hG4bKx" + change[0]}, change[1:]...)...).Replace(ack)
			addr := netip.MustParseAddrPort("10.0.0.3:5060")
			raw.WriteToUDPAddrPort([]byte(req), addr)
			buf := make([]byte, 2000)
			k, _, err := raw.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatal(err)
			}
			line, _, _ := strings.Cut(string(buf[:k]), "\r\n")
			return line
		}
		if got := ask("1"); got != "SIP/2.0 500 Server Internal Error" {
			t.Errorf("number used before: %s", got)
		}
		if got := ask("2", "tag=", "tag=z"); got != "SIP/2.0 481 Call/Transaction Does Not Exist" {
			t.Errorf("wrong tags: %s", got)
		}
		addr := netip.MustParseAddrPort("10.0.0.3:5060")
		for _, junk := range []string{"", "\r\n\r\n", "INVITE sip:x SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "\x00\xff"} {
			raw.WriteToUDPAddrPort([]byte(junk), addr)
		}
		p.caller.HangUp()
		time.Sleep(time.Minute)
		p.check(t)
	})
}
