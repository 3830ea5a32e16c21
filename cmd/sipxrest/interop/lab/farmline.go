package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Timers of RFC 3261 §17.1.1.1.
const (
	farmT1 = 500 * time.Millisecond
	farmT2 = 4 * time.Second
)

// line is one phone's side of a call. Its farm's lock guards it.
type line struct {
	farm         *Farm
	user, callID string
	born         time.Time
	tag          string // our own
	local        string // From of our own requests
	remote       string // their To
	target       string // the other side's Contact
	hop          netip.AddrPort
	moved        time.Time

	seq, theirs uint32
	invite      *sip.Request // theirs, until its final response
	inviteFrom  netip.AddrPort
	again       *time.Timer // repeats our 2xx until the ACK
	unacked     uint32      // number of the INVITE whose 2xx has no ACK; 0: none
	said        map[string]said
	own         bool // an INVITE of our own is under way
	ack         string
	ackOf       uint32

	state, end string
	over       time.Time
	version    int
	described  string // by us, without its version
	heard      string
	answers    int
	refused    int
	invites    int // within the call
	updates    int
	infos      int
}

// said is the response to a request, for those that come again.
type said struct {
	text string
	to   netip.AddrPort
}

func (x *line) view() View {
	return View{User: x.user, CallID: x.callID, State: x.state, End: x.end, Contact: x.hop.String(), Moved: x.moved, Over: x.over,
		Heard: x.heard, Settled: x.unacked == 0 && !x.own, Answers: x.answers,
		Refused: x.refused, Invites: x.invites, Updates: x.updates, Infos: x.infos}
}

// request deals with a request of the service.
func (f *Farm) request(req *sip.Request, from netip.AddrPort) {
	x := f.lines[req.CallID().Value()]
	branch := string(req.Method) + " " + req.Via().Params.GetOr("branch", "")
	if x != nil && req.Method != sip.ACK {
		if before, ok := x.said[branch]; ok { // it has come before
			f.write(before.text, before.to)
			return
		}
	}
	tag := req.To().Params.GetOr("tag", "")
	switch {
	case req.Method == sip.ACK:
		if x != nil {
			x.acked(req)
		}
	case req.Method == sip.CANCEL:
		f.cancel(x, req, from)
	case req.Method == sip.INVITE && tag == "":
		f.ring(req, from)
	case req.Method == sip.OPTIONS && tag == "":
		f.write(reply(req, 200, from, "probe", "").String(), from)
	case x == nil || x.state == "over" || x.state == "up" && tag != x.tag:
		if x == nil {
			f.strays++
		}
		f.write(reply(req, 481, from, tag, "").String(), from)
	default:
		x.within(req, from)
	}
}

// ring is the beginning of a call.
func (f *Farm) ring(req *sip.Request, from netip.AddrPort) {
	user, callID := req.Recipient.User, req.CallID().Value()
	if f.lines[callID] != nil {
		return // it comes again while the phone rings
	}
	if other := f.newest[user]; other != nil && other.state != "over" {
		f.faultf("%s is in a call, and gets a second INVITE", user)
	}
	x := &line{farm: f, user: user, callID: callID, born: time.Now(), tag: newBranch()[len(magic):], remote: req.From().Value(),
		theirs: req.CSeq().SeqNo, invite: req, inviteFrom: from, state: "ringing", said: map[string]said{}}
	x.local = "<" + req.To().Address.String() + ">;tag=" + x.tag
	x.again = time.AfterFunc(time.Hour, func() {})
	x.refresh(req)
	f.lines[callID], f.newest[user] = x, x
	f.write(reply(req, 180, from, x.tag, x.contact()).String(), from)
	if strings.HasPrefix(user, "ring") {
		return
	}
	if f.cfg.Ring == 0 {
		x.answer(req, from)
		return
	}
	x.again = time.AfterFunc(f.cfg.Ring, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.closed && x.state == "ringing" {
			x.answer(req, from)
		}
	})
}

// answer sends a 200 to an INVITE, with a description, and repeats it until the ACK.
func (x *line) answer(req *sip.Request, from netip.AddrPort) {
	f := x.farm
	offer := string(req.Body())
	if offer != "" {
		x.hear(offer)
	}
	res := reply(req, 200, from, x.tag, x.contact())
	allow := "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"
	if !f.cfg.NoUpdate {
		allow += ", UPDATE"
	}
	res.AppendHeader(sip.NewHeader("Allow", allow))
	res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	res.SetBody([]byte(x.describe(offer)))
	x.invite = nil
	if x.state == "ringing" {
		x.state = "up"
	}
	x.unacked = req.CSeq().SeqNo
	x.say(req, res, from)
	x.again.Stop()
	x.repeat(res.String(), from, farmT1, time.Now())
}

func (x *line) repeat(text string, to netip.AddrPort, after time.Duration, since time.Time) {
	f, seq := x.farm, x.unacked
	x.again = time.AfterFunc(after, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		switch {
		case f.closed || x.state == "over" || x.unacked != seq:
		case time.Since(since) > 64*farmT1: // RFC 3261 §13.3.1.4
			x.finish("no ACK")
			f.work.Go(func() { f.ask(x, "BYE", "") })
		default:
			f.write(text, to)
			x.repeat(text, to, min(2*after, farmT2), since)
		}
	})
}

// acked is the end of an INVITE.
func (x *line) acked(req *sip.Request) {
	if x.unacked == 0 || req.CSeq().SeqNo != x.unacked {
		return
	}
	x.unacked = 0
	x.again.Stop()
	if len(req.Body()) > 0 {
		x.hear(string(req.Body()))
	}
}

func (f *Farm) cancel(x *line, req *sip.Request, from netip.AddrPort) {
	if x == nil || x.state != "ringing" || x.invite == nil ||
		x.invite.Via().Params.GetOr("branch", "") != req.Via().Params.GetOr("branch", "") || x.invite.Via().Host != req.Via().Host {
		f.write(reply(req, 481, from, "none", "").String(), from)
		return
	}
	x.say(req, reply(req, 200, from, x.tag, ""), from)
	x.say(x.invite, reply(x.invite, 487, x.inviteFrom, x.tag, ""), x.inviteFrom)
	x.finish("CANCEL")
}

// within deals with a request in the call.
func (x *line) within(req *sip.Request, from netip.AddrPort) {
	seq := req.CSeq().SeqNo
	if seq <= x.theirs { // RFC 3261 §12.2.2
		x.refused++
		x.say(req, reply(req, 500, from, x.tag, ""), from)
		return
	}
	x.theirs = seq
	switch req.Method {
	case sip.BYE:
		if x.invite != nil {
			x.say(x.invite, reply(x.invite, 487, x.inviteFrom, x.tag, ""), x.inviteFrom)
		}
		x.finish("BYE")
		x.say(req, reply(req, 200, from, x.tag, ""), from)
	case sip.INVITE:
		x.invites++
		if x.own {
			x.say(req, reply(req, 491, from, x.tag, ""), from)
			return
		}
		x.refresh(req)
		x.answer(req, from)
	case sip.UPDATE:
		x.updates++
		if x.farm.cfg.NoUpdate {
			x.farm.faultf("%s gets an UPDATE, which it does not allow", x.user)
			x.say(req, reply(req, 501, from, x.tag, ""), from)
			return
		}
		x.refresh(req)
		res := reply(req, 200, from, x.tag, x.contact())
		if len(req.Body()) > 0 {
			x.hear(string(req.Body()))
			res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
			res.SetBody([]byte(x.describe(string(req.Body()))))
		}
		x.say(req, res, from)
	case sip.INFO, sip.OPTIONS, sip.MESSAGE, sip.NOTIFY:
		if req.Method == sip.INFO {
			x.infos++
		}
		x.say(req, reply(req, 200, from, x.tag, ""), from)
	default:
		x.say(req, reply(req, 501, from, x.tag, ""), from)
	}
}

// say sends a response, and keeps it for the request that comes again.
func (x *line) say(req *sip.Request, res *sip.Response, to netip.AddrPort) {
	text := res.String()
	x.said[string(req.Method)+" "+req.Via().Params.GetOr("branch", "")] = said{text, to}
	x.farm.write(text, to)
}

func (x *line) finish(end string) {
	x.state, x.end, x.over, x.unacked = "over", end, time.Now(), 0
	x.again.Stop()
}

// refresh takes the other side's Contact (RFC 3261 §12.2.2).
func (x *line) refresh(m sip.Message) {
	all := m.GetHeaders("Contact")
	if len(all) == 0 {
		return
	}
	c := all[0]
	_, uri, _ := strings.Cut(c.Value(), "<")
	uri, _, _ = strings.Cut(uri, ">")
	var u sip.Uri
	if sip.ParseUri(uri, &u) != nil {
		x.farm.faultf("%s gets Contact %q", x.user, c.Value())
		return
	}
	ip, err := netip.ParseAddr(u.Host)
	if err != nil {
		x.farm.faultf("%s gets Contact %q", x.user, c.Value())
		return
	}
	hop := netip.AddrPortFrom(ip, uint16(max(u.Port, 0)))
	if u.Port == 0 {
		hop = netip.AddrPortFrom(ip, 5060)
	}
	if hop != x.hop {
		x.moved = time.Now()
	}
	x.target, x.hop = uri, hop
}

// hear takes a description of the other side. It has to follow from the last one
// (RFC 3264 §8): the same version has the same text, another text the next version.
func (x *line) hear(text string) {
	x.answers++
	was := x.heard
	x.heard = text
	if was == "" {
		return
	}
	before, after := originOf(was), originOf(text)
	switch {
	case len(before) != 6 || len(after) != 6:
		x.farm.faultf("%s gets a description without an origin: %q", x.user, text)
	case before[0] != after[0] || before[1] != after[1] || !slices.Equal(before[3:], after[3:]):
		x.farm.faultf("%s gets the origin %q after %q", x.user, after, before)
	case before[2] == after[2] && was != text:
		x.farm.faultf("%s gets another description of the same version: %q after %q", x.user, text, was)
	case before[2] != after[2]:
		a, _ := strconv.ParseUint(before[2], 10, 64)
		if b, _ := strconv.ParseUint(after[2], 10, 64); b != a+1 {
			x.farm.faultf("%s gets version %s after %s", x.user, after[2], before[2])
		}
	}
}

func originOf(description string) []string {
	for line := range strings.Lines(description) {
		if origin, ok := strings.CutPrefix(line, "o="); ok {
			return strings.Fields(origin)
		}
	}
	return nil
}

// describe is the phone's own description: an answer to an offer, or an offer. Its version
// rises when it has changed.
func (x *line) describe(offer string) string {
	streams := "m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
	if offer != "" {
		streams = ""
		direction := ""
		for _, part := range strings.Split("\n"+offer, "\nm=")[1:] {
			if !strings.HasPrefix(part, "audio ") {
				kind, rest, _ := strings.Cut(part, " ")
				_, rest, _ = strings.Cut(rest, " ")
				rest, _, _ = strings.Cut(rest, "\r")
				streams += "m=" + kind + " 0 " + rest + "\r\n"
				continue
			}
			direction = "sendrecv"
			for from, to := range map[string]string{"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"} {
				if strings.Contains(offer, "a="+from) {
					direction = to
				}
			}
			streams += "m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=" + direction + "\r\n"
		}
	}
	return x.offered(streams)
}

func (x *line) offered(streams string) string {
	if streams != x.described {
		x.described = streams
		x.version++
	}
	return fmt.Sprintf("v=0\r\no=%s 7 %d IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n%s", x.user, x.version, streams)
}

func (x *line) contact() string { return "<sip:" + x.user + "@" + x.farm.Addr + ">" }

// reply is a response, with the tag of the phone and its Contact, if that is given.
func reply(req *sip.Request, code int, from netip.AddrPort, tag, contact string) *sip.Response {
	via := req.Via()
	if via.Params.Has("rport") {
		via.Params.Add("rport", strconv.Itoa(int(from.Port())))
		via.Params.Add("received", from.Addr().String())
	}
	res := sip.NewResponseFromRequest(req, code, reasons[code], nil)
	if !req.To().Params.Has("tag") {
		res.To().Params.Add("tag", tag)
	}
	if contact != "" {
		res.AppendHeader(sip.NewHeader("Contact", contact))
	}
	return res
}

var reasons = map[int]string{180: "Ringing", 200: "OK", 481: "Call/Transaction Does Not Exist", 487: "Request Terminated",
	491: "Request Pending", 500: "Server Internal Error", 501: "Not Implemented"}
