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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// mischief is a network of phones that do anything at any time, right or wrong, until
// it is over: from then on they do what a phone must.
type mischief struct {
	*rig
	mu      sync.Mutex
	dialogs []*mischiefDialog
	over    bool
}

// mischiefDialog is a dialog as one of those phones sees it.
type mischiefDialog struct {
	of             *mischiefPhone
	callID, local  string // local: From or To with its tag
	remote, target string
	seq            int
	byUs, picksUp  bool // byUs: our INVITE; picksUp: there has been a 200
	acked, hungUp  bool // acked: it is up
	branch         string
}

type mischiefPhone struct {
	*mischief
	udp    *siptest.PacketConn
	addr   string
	rand   *rand.Rand // of its own lock: what rings takes its time
	number atomic.Uint32
	last   *mischiefDialog
}

// sharedSource are random numbers for several goroutines.
type sharedSource struct {
	mu     sync.Mutex
	source rand.Source
}

func (s *sharedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source.Uint64()
}

// isOver reports whether the phones do what they must.
func (m *mischief) isOver() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.over
}

func (p *mischiefPhone) send(s string) {
	p.udp.WriteToUDPAddrPort([]byte(s), mustAddrPort(ourAddr)) //nolint:errcheck // it is a bad network
}

func (p *mischiefPhone) chance(percent int) bool { return !p.isOver() && p.rand.IntN(100) < percent }

func (p *mischiefPhone) oneOf(all ...string) string { return all[p.rand.IntN(len(all))] }

func (p *mischiefPhone) id() string {
	return fmt.Sprintf("%x%d", p.rand.Uint32(), p.number.Add(1))
}

func (p *mischiefPhone) description() (header, body string) {
	body = sdpOf(2000 + 2*p.rand.IntN(5000))
	if !p.isOver() {
		switch p.rand.IntN(16) {
		case 0:
			body = strings.Replace(body, "c=IN IP4 10.0.0.2", "c=IN IP4 0.0.0.0", 1)
		case 1:
			body = strings.Replace(body, "sendrecv", p.oneOf("sendonly", "recvonly", "inactive"), 1)
		case 2:
			body += "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
		case 3:
			body = body[:strings.Index(body, "m=")]
		case 4:
			body = strings.Replace(body, "RTP/AVP", "UDP/TLS/RTP/SAVPF", 1) + "a=fingerprint:sha-256 AA\r\na=ice-ufrag:x\r\n"
		case 5:
			body = strings.Replace(body, "RTP/AVP", "RTP/SAVP", 1) + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc\r\n"
		case 6:
			i := strings.Index(body, "m=")
			body = body[:i] + "m=audio 0 RTP/AVP 0\r\n"
		case 7:
			return "Content-Type: multipart/mixed;boundary=b\r\n", "--b\r\nContent-Type: application/sdp\r\n\r\n" + body + "\r\n--b--\r\n"
		case 8:
			return sdpHeader, "garbage"
		case 9:
			return "Content-Type: text/plain\r\n", "hello"
		}
	}
	return sdpHeader, body
}

func (p *mischiefPhone) maybeDescription(percent int) (header, body string) {
	if p.isOver() || p.rand.IntN(100) < percent {
		return p.description()
	}
	return "", ""
}

func (p *mischiefPhone) contact() string {
	return "Contact: <sip:x@" + p.addr + ">\r\nAllow: INVITE, UPDATE, PRACK\r\n"
}

func (p *mischiefPhone) session() string {
	if !p.chance(40) {
		return ""
	}
	return "Supported: timer, 100rel\r\nSession-Expires: " + p.oneOf("90", "90", "120", "60") +
		p.oneOf("", ";refresher=uac", ";refresher=uas") + "\r\n"
}

func (p *mischiefPhone) respond(m *wire.Message, code int, tag, header, body string) {
	to := string(m.Get(wire.To))
	if len(wire.Tag([]byte(to))) == 0 && tag != "" {
		to += ";tag=" + tag
	}
	switch code {
	case 401:
		header += "WWW-Authenticate: Digest realm=\"10.0.0.9\", nonce=\"" + p.id() + "\"\r\n"
	case 407:
		header += "Proxy-Authenticate: Digest realm=\"10.0.0.9\", nonce=\"" + p.id() + "\", stale=true, qop=\"auth\"\r\n"
	case 422:
		header += "Min-SE: " + strconv.Itoa(90+p.rand.IntN(2000)) + "\r\n"
	case 302:
		header += "Contact: <sip:y@" + p.addr + ">\r\n"
	}
	p.send(fmt.Sprintf("SIP/2.0 %d %s\r\nVia: %s\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n%s%sContent-Length: %d\r\n\r\n%s", code,
		wire.Phrase(code), m.Get(wire.Via), m.Get(wire.From), to, m.Get(wire.CallID), m.Get(wire.CSeq), p.contact(), header, len(body), body))
}

func (p *mischiefPhone) find(callID, tag string) *mischiefDialog {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.dialogs {
		if d.of == p && d.callID == callID && string(wire.Tag([]byte(d.local))) == tag {
			return d
		}
	}
	return nil
}

func (p *mischiefPhone) add(d *mischiefDialog) *mischiefDialog {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialogs = append(p.dialogs, d)
	return d
}

// up are the dialogs of anybody that are up.
func (m *mischief) up(of *mischiefPhone) (all []*mischiefDialog) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.dialogs {
		if d.acked && !d.hungUp && (of == nil || d.of == of) {
			all = append(all, d)
		}
	}
	return all
}

func (p *mischiefPhone) run() {
	for {
		wait := 5 * time.Second
		if !p.isOver() {
			wait = time.Duration(p.rand.IntN(3000)) * time.Millisecond
		}
		b := make([]byte, wire.MaxMessage)
		p.udp.SetReadDeadline(time.Now().Add(wait))
		n, _, err := p.udp.ReadFromUDPAddrPort(b)
		if err != nil {
			if strings.Contains(err.Error(), "closed") {
				return
			}
			if !p.isOver() {
				p.act()
			}
			continue
		}
		m, err := wire.Parse(b[:n])
		if err != nil {
			p.t.Errorf("cannot be read: %v\n%s", err, b[:n])
			continue
		}
		if m.IsRequest() {
			p.request(m)
		} else {
			p.response(m)
		}
	}
}

func (p *mischiefPhone) request(m *wire.Message) {
	callID, tag := string(m.Get(wire.CallID)), string(wire.Tag(m.Get(wire.To)))
	d := p.find(callID, tag)
	code := func() int {
		if p.chance(60) || p.isOver() {
			return 200
		}
		all := []int{401, 407, 408, 481, 491, 488, 500, 503, 405, 501, 422, 302, 606}
		return all[p.rand.IntN(len(all))]
	}
	switch method := m.Method(); {
	case method == "ACK":
		if d != nil {
			p.mu.Lock()
			d.acked = d.acked || d.picksUp
			p.mu.Unlock()
		}
	case method == "BYE":
		if d != nil {
			p.mu.Lock()
			d.hungUp = true
			p.mu.Unlock()
		}
		if !p.chance(10) {
			p.respond(m, code(), "", "", "")
		}
	case method == "CANCEL":
		p.respond(m, 200, "", "", "")
		if p.last != nil && p.last.callID == callID {
			p.mu.Lock()
			p.last.branch = "cancelled"
			p.mu.Unlock()
		}
	case method == "INVITE" && tag == "":
		go p.invited(m)
	case method == "INVITE":
		if p.chance(10) {
			return
		}
		if p.chance(30) {
			p.respond(m, 180, "", "", "")
			if p.chance(30) {
				return
			}
		}
		if p.chance(20) {
			h, body := p.description()
			p.respond(m, 183, "", "Require: 100rel\r\nRSeq: "+strconv.Itoa(1+p.rand.IntN(9))+"\r\n"+h, body)
		}
		h, body := "", ""
		c := code()
		if c == 200 {
			h, body = p.maybeDescription(90)
			h += p.session()
		}
		p.respond(m, c, "", h, body)
	default:
		if !p.chance(15) {
			p.respond(m, code(), "", p.session(), "")
		}
	}
}

// invited takes a first INVITE.
func (p *mischiefPhone) invited(m *wire.Message) {
	callID := string(m.Get(wire.CallID))
	p.mu.Lock()
	for _, d := range p.dialogs { // a repeat
		if d.of == p && d.callID == callID && d.branch != "" && d.seq == int(m.Seq()) {
			p.mu.Unlock()
			return
		}
	}
	d := &mischiefDialog{of: p, callID: callID, local: string(m.Get(wire.To)) + ";tag=" + p.id(),
		remote: string(m.Get(wire.From)), seq: int(m.Seq()),
		target: string(m.URI()), branch: "x"}
	p.dialogs = append(p.dialogs, d)
	p.last = d
	p.mu.Unlock()
	if p.chance(4) {
		return
	}
	if p.chance(20) {
		p.respond(m, []int{486, 488, 480, 401, 407, 415, 606, 503, 500, 302, 422, 421, 481}[p.rand.IntN(13)], p.id(), "", "")
		return
	}
	p.respond(m, 180, string(wire.Tag([]byte(d.local))), "", "")
	for p.chance(40) {
		h, body := p.maybeDescription(70)
		tag := p.id()
		if p.chance(60) {
			tag = string(wire.Tag([]byte(d.local)))
		}
		if p.chance(70) {
			h += "Require: 100rel\r\nRSeq: " + strconv.Itoa(1+p.rand.IntN(90)) + "\r\n"
		}
		p.respond(m, 183, tag, h, body)
		time.Sleep(time.Duration(p.rand.IntN(800)) * time.Millisecond)
	}
	time.Sleep(time.Duration(p.rand.IntN(3000)) * time.Millisecond)
	p.mu.Lock()
	cancelled := d.branch == "cancelled"
	p.mu.Unlock()
	if cancelled && !p.chance(30) {
		p.respond(m, 487, string(wire.Tag([]byte(d.local))), "", "")
		return
	}
	h, body := p.maybeDescription(92)
	h += p.session()
	answers := []*mischiefDialog{d}
	for p.chance(20) && len(answers) < 3 {
		f := *d
		f.local = string(m.Get(wire.To)) + ";tag=" + p.id()
		answers = append(answers, p.add(&f))
	}
	for i := range 7 {
		for _, d := range answers {
			p.mu.Lock()
			acked := d.acked
			d.picksUp = true
			p.mu.Unlock()
			if !acked {
				p.respond(m, 200, string(wire.Tag([]byte(d.local))), h, body)
			}
		}
		time.Sleep(min(500<<i*time.Millisecond, 4*time.Second))
	}
}

// act does something of its own accord.
func (p *mischiefPhone) act() {
	if p.rand.IntN(6) == 0 {
		p.replace()
		return
	}
	all := p.up(p)
	if len(all) == 0 {
		return
	}
	d := all[p.rand.IntN(len(all))]
	d.seq++
	seq, h, body := d.seq, "", ""
	if p.chance(10) {
		seq -= p.rand.IntN(3)
	}
	method := p.oneOf("INVITE", "INVITE", "INVITE", "UPDATE", "UPDATE", "INFO", "OPTIONS", "REFER", "NOTIFY", "PRACK",
		"MESSAGE", "SUBSCRIBE", "CANCEL", "ACK")
	switch method {
	case "INVITE", "UPDATE", "ACK":
		h, body = p.maybeDescription(60)
		h += p.session()
	case "REFER":
		h = "Refer-To: <sip:205@10.0.0.4>\r\n"
		if others := p.up(nil); p.chance(50) && len(others) > 0 {
			o := others[p.rand.IntN(len(others))]
			h = "Refer-To: <sip:205@10.0.0.4?Replaces=" + o.callID + "%3Bto-tag%3D" + string(wire.Tag([]byte(o.remote))) + "%3Bfrom-tag%3D" +
				string(wire.Tag([]byte(o.local))) + ">\r\n"
		}
	case "NOTIFY":
		h, body = "Event: refer\r\nSubscription-State: "+p.oneOf("active", "terminated")+"\r\nContent-Type: message/sipfrag\r\n", "SIP/2.0 "+
			p.oneOf("100 Trying", "180 Ringing", "200 OK", "486 Busy")+"\r\n"
	}
	if p.chance(4) {
		method = "BYE"
		p.mu.Lock()
		d.hungUp = true
		p.mu.Unlock()
	}
	msg := d.request(method, seq, h, body)
	p.send(msg)
	if method == "BYE" {
		go func() { // it may get lost
			for range 5 {
				time.Sleep(time.Second)
				p.send(msg)
			}
		}()
	}
}

func (d *mischiefDialog) request(method string, seq int, header, body string) string {
	of := strings.NewReplacer("CANCEL", "INVITE", "ACK", "INVITE").Replace(method)
	tag := wire.Tag([]byte(d.local))
	return fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s%s%d;rport\r\nMax-Forwards: 70\r\n"+
		"From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n%s%sContent-Length: %d\r\n\r\n%s", method, d.target, d.of.addr, of, tag, seq,
		d.local, d.remote, d.callID, seq, method, d.of.contact(), header, len(body), body)
}

// replace calls, mostly to take somebody's place.
func (p *mischiefPhone) replace() {
	h, body := p.maybeDescription(60)
	h += p.session()
	if all := p.up(nil); len(all) > 0 && p.rand.IntN(5) > 0 {
		o := all[p.rand.IntN(len(all))]
		h += "Replaces: " + o.callID + ";to-tag=" + string(wire.Tag([]byte(o.remote))) + ";from-tag=" + string(wire.Tag([]byte(o.local))) + "\r\n"
	}
	if p.chance(20) {
		h += "Require: 100rel\r\n"
	}
	d := p.add(&mischiefDialog{of: p, callID: p.id(), local: "<sip:203@10.0.0.4>;tag=" + p.id(), remote: "<sip:200@10.0.0.9>",
		target: "sip:callcontroller@" + ourAddr, seq: 1, byUs: true})
	p.send(d.request("INVITE", 1, h, body))
	if p.chance(15) {
		p.send(d.request("CANCEL", 1, "", ""))
	}
}

func (p *mischiefPhone) response(m *wire.Message) {
	if m.Method() != "INVITE" || m.Code() < 200 {
		if rseq := m.Get(wire.RSeq); rseq != nil && !p.chance(20) {
			if d := p.find(string(m.Get(wire.CallID)), string(m.FromTag())); d != nil {
				d.remote = string(m.Get(wire.To))
				d.seq++
				h, body := "", ""
				if len(m.Body()) > 0 {
					h, body = p.maybeDescription(50)
				}
				p.send(d.request("PRACK", d.seq, "RAck: "+string(rseq)+" "+string(m.Get(wire.CSeq))+"\r\n"+h, body))
			}
		}
		return
	}
	d := p.find(string(m.Get(wire.CallID)), string(m.FromTag()))
	if d == nil || p.chance(15) {
		return
	}
	p.mu.Lock()
	defer func() { p.send(d.request("ACK", int(m.Seq()), "", "")) }()
	defer p.mu.Unlock()
	if m.Code() < 300 {
		d.remote, d.acked = string(m.Get(wire.To)), true
		if target := wire.ContactURI(m.Get(wire.Contact)); target != nil {
			d.target = string(target)
		}
	}
}

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
