package lab

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

const magic = "z9hG4bK"

func newBranch() string { return magic + strings.ToLower(rand.Text()[:20]) }

// ask is a request of a phone that waits for its response.
type ask struct {
	method string
	line   *line
	seq    uint32
	rings  chan struct{} // a provisional response has come
	done   chan int      // the final one, 0 if the farm closes
	over   bool
}

func (a *ask) fail() { a.finish(0) }

func (a *ask) finish(code int) {
	if !a.over {
		a.over = true
		a.done <- code
	}
}

// HangUp lets the phone of a user hang up. It returns the final response to its BYE, 0
// where none came in 32 s. The call is over for the phone in any case.
func (f *Farm) HangUp(user string) int {
	x := f.up(user)
	if x == nil {
		return -1
	}
	f.mu.Lock()
	x.finish("own BYE")
	f.mu.Unlock()
	return f.ask(x, "BYE", "")
}

// Hold lets the phone of a user put the other one on hold; Resume takes it back. Both
// return the final response to its INVITE, 0 where none came in 32 s.
func (f *Farm) Hold(user string) int   { return f.offer(user, "sendonly") }
func (f *Farm) Resume(user string) int { return f.offer(user, "sendrecv") }

// Press lets the phone of a user send a digit, and returns the final response.
func (f *Farm) Press(user, digit string) int {
	x := f.up(user)
	if x == nil {
		return -1
	}
	return f.ask(x, "INFO", "Signal="+digit+"\r\nDuration=100\r\n")
}

func (f *Farm) offer(user, direction string) int {
	x := f.up(user)
	if x == nil {
		return -1
	}
	f.mu.Lock()
	body := x.offered("m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=" + direction + "\r\n")
	x.own = true
	f.mu.Unlock()
	code := f.ask(x, "INVITE", body)
	f.mu.Lock()
	x.own = false
	f.mu.Unlock()
	return code
}

// up is the user's call, nil where it is not up.
func (f *Farm) up(user string) *line {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.newest[user]; x != nil && x.state == "up" {
		return x
	}
	return nil
}

// ask sends a request, again and again as RFC 3261 §17.1 says, and waits for its response.
func (f *Farm) ask(x *line, method, body string) int {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return 0
	}
	x.seq++
	branch := newBranch()
	a := &ask{method: method, line: x, seq: x.seq, rings: make(chan struct{}, 1), done: make(chan int, 1)}
	f.pending[branch] = a
	text, to := x.text(method, branch, x.seq, body), x.hop
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.pending, branch)
		f.mu.Unlock()
	}()
	wait, end := farmT1, time.After(64*farmT1)
	for {
		f.write(text, to)
		repeat := time.NewTimer(wait)
		select {
		case code := <-a.done:
			repeat.Stop()
			return code
		case <-a.rings:
			repeat.Stop()
			wait = time.Hour // nothing is sent again but by the end
			select {
			case code := <-a.done:
				return code
			case <-end:
				return 0
			}
		case <-end:
			repeat.Stop()
			return 0
		case <-repeat.C:
			if wait *= 2; method != "INVITE" {
				wait = min(wait, farmT2)
			}
		}
	}
}

// text is a request within the call.
func (x *line) text(method, branch string, seq uint32, body string) string {
	kind := ""
	switch {
	case body == "":
	case method == "INFO":
		kind = "Content-Type: application/dtmf-relay\r\n"
	default:
		kind = "Content-Type: application/sdp\r\n"
	}
	return fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=%s;rport\r\nMax-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\n"+
		"CSeq: %d %s\r\nContact: %s\r\n%sContent-Length: %d\r\n\r\n%s",
		method, x.target, x.farm.Addr, branch, x.local, x.remote, x.callID, seq, method, x.contact(), kind, len(body), body)
}

// response deals with a response of the service.
func (f *Farm) response(res *sip.Response) {
	branch := res.Via().Params.GetOr("branch", "")
	a := f.pending[branch]
	if a == nil {
		// A 2xx that comes again wants its ACK again.
		if x := f.lines[res.CallID().Value()]; x != nil && res.StatusCode/100 == 2 && res.CSeq().MethodName == sip.INVITE && res.CSeq().SeqNo == x.ackOf {
			f.write(x.ack, x.hop)
		}
		return
	}
	if res.StatusCode < 200 {
		select {
		case a.rings <- struct{}{}:
		default:
		}
		return
	}
	x := a.line
	if a.method == "INVITE" {
		ackBranch := branch
		if res.StatusCode < 300 {
			ackBranch = newBranch()
			x.refresh(res)
			if len(res.Body()) > 0 {
				x.hear(string(res.Body()))
			}
		}
		x.ack, x.ackOf = x.text("ACK", ackBranch, a.seq, ""), a.seq
		f.write(x.ack, x.hop)
	}
	a.finish(res.StatusCode)
}
