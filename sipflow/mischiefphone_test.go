package sipflow

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
