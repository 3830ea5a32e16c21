package sipflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// errExpired ends a call whose phone did not refresh its session in time.
var errExpired = errors.New("the phone did not refresh its session")

// minSession is the shortest session interval that we agree to (RFC 4028 §4).
const minSession = 90 * time.Second

// sessionTimer watches that a leg's phone is still there (RFC 4028).
type sessionTimer struct {
	interval time.Duration // 0: the phone wants no timer
	ours     bool          // we are the refresher
	due      time.Time     // when we refresh, or hang up
	update   bool          // the phone takes UPDATE
}

// startTimer takes the session interval from a 2xx to an INVITE or UPDATE of
// ours, or restarts the one that there is.
func (l *Leg) startTimer(res *wire.Message) {
	if l.call.Method != MethodInvite && l.joint == nil {
		return // a referred phone is not kept
	}
	t := &l.joined().timer
	interval, refresher := sessionExpires(res)
	t.interval, t.ours = 0, refresher != "uas" // none in the answer: the session has no end (§7.2)
	if interval > 0 {
		t.interval = max(interval, minSession)
	}
	if res.Get(wire.Allow) != nil {
		t.update = false
		for v := range res.All(wire.Allow) {
			t.update = t.update || bytes.Contains(v, []byte("UPDATE"))
		}
	}
	t.restart()
}

// sessionHeader is what our INVITE or UPDATE in the dialog says of the timer:
// it goes on as it is (RFC 4028 §7.4).
func (l *Leg) sessionHeader() string {
	const supported = "Supported: timer\r\n"
	t := &l.joined().timer
	if t.interval == 0 {
		return supported
	}
	refresher := "uas"
	if t.ours {
		refresher = "uac"
	}
	return supported + "Session-Expires: " + strconv.Itoa(int(t.interval/time.Second)) + ";refresher=" + refresher + "\r\n"
}

func (t *sessionTimer) restart() {
	if t.interval == 0 {
		t.due = time.Time{}
		return
	}
	wait := t.interval / 2 // RFC 4028 §10: the refresher at half of it
	if !t.ours {           // the other hangs up a little before its end
		wait = t.interval - min(32*time.Second, t.interval/3)
	}
	t.due = time.Now().Add(wait)
}

// tooBrief refuses a session interval (RFC 4028 §9).
var tooBrief = wire.Reply{Code: 422, Header: "Min-SE: 90\r\n"}

// sessionAnswer is what our 2xx to a phone's INVITE or UPDATE says of the
// session timer: what the phone asked for, itself as the refresher unless it
// named us or cannot (RFC 4028 §9).
func (l *Leg) sessionAnswer(req *wire.Message) string {
	t := &l.joined().timer
	interval, refresher := sessionExpires(req)
	if interval == 0 {
		if !t.ours { // it does not keep the session any more
			t.interval = 0
		}
		t.restart()
		return ""
	}
	t.interval = interval
	t.ours = refresher == "uas" || !supports(req, "timer")
	t.restart()
	h := "Session-Expires: " + strconv.Itoa(int(t.interval/time.Second)) + ";refresher="
	if t.ours {
		return h + "uas\r\n"
	}
	return h + "uac\r\nRequire: timer\r\n"
}

// sessionExpires reads Session-Expires. refresher is "uac", "uas" or "".
func sessionExpires(m *wire.Message) (interval time.Duration, refresher string) {
	v := m.Get(wire.SessionExpires)
	if v == nil {
		return 0, ""
	}
	seconds, params, _ := bytes.Cut(v, []byte{';'})
	n, err := strconv.ParseUint(string(bytes.TrimSpace(seconds)), 10, 31)
	if err != nil || n == 0 {
		return 0, ""
	}
	r, _ := wire.Param(append([]byte{';'}, params...), "refresher")
	return time.Duration(min(n, 1<<22)) * time.Second, string(bytes.ToLower(r))
}

// supports reports whether a message says that its sender knows an option tag.
func supports(m *wire.Message, option string) bool { return wire.Lists(m, wire.Supported, option) }

// minSE reads the Min-SE of a 422, in seconds.
func minSE(res *wire.Message) (seconds uint64, ok bool) {
	v, _, _ := bytes.Cut(res.Get(wire.MinSE), []byte{';'})
	n, err := strconv.ParseUint(string(bytes.TrimSpace(v)), 10, 31)
	return n, err == nil && n > 0 && n < 1<<22
}

// withSession replaces the session interval that a request asks for.
func withSession(header string, seconds uint64) string {
	var b strings.Builder
	for line := range strings.SplitAfterSeq(header, "\r\n") {
		if !strings.HasPrefix(line, "Session-Expires:") && !strings.HasPrefix(line, "Min-SE:") {
			b.WriteString(line)
		}
	}
	fmt.Fprintf(&b, "Session-Expires: %d\r\nMin-SE: %d\r\n", seconds, seconds)
	return b.String()
}

// setClock sets the bridge's clock to what is due next.
func (b *bridge) setClock() {
	var due time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	for _, l := range [...]*Leg{b.calling, b.called} {
		if l != nil {
			sooner(l.joined().timer.due)
		}
	}
	if b.transfer != nil {
		sooner(b.transfer.until)
	}
	for _, r := range b.relays {
		sooner(r.until)
	}
	if due.IsZero() {
		b.clock.Stop()
		return
	}
	b.clock.Reset(time.Until(due))
}

// tick does what is due.
func (b *bridge) tick(ctx context.Context) error {
	now := time.Now()
	if t := b.transfer; t != nil && !t.until.IsZero() && !now.Before(t.until) {
		t.giveUp(b.call, ErrNoAnswer)
		return b.transferFailed(t)
	}
	for i := len(b.relays) - 1; i >= 0; i-- {
		if r := b.relays[i]; !r.until.IsZero() && !now.Before(r.until) {
			b.overdue(r)
		}
	}
	for _, l := range [...]*Leg{b.calling, b.called} {
		if l == nil {
			continue
		}
		if due := l.joined().timer.due; due.IsZero() || now.Before(due) {
			continue
		}
		if !l.joint.timer.ours {
			return errExpired
		}
		b.refresh(ctx, l)
	}
	return nil
}

// refresh asks a phone whether it is still there: by UPDATE where it takes
// that, else by an INVITE with the description that it knows (RFC 4028 §10).
func (b *bridge) refresh(ctx context.Context, l *Leg) {
	t := &l.joint.timer
	t.due = time.Now().Add(t.interval / 4) // should this one come to nothing
	other := b.other(l)
	if other == nil || !l.peer.idle() { // the INVITE under way refreshes the session as well
		return
	}
	r := &relay{to: l}
	out := outgoing{method: "UPDATE", header: l.sessionHeader()}
	if !t.update {
		if len(other.joined().remote) == 0 {
			return
		}
		out.method, out.contentType, out.body = "INVITE", sdp.Type, l.describe(other.joint.remote)
		out.header += "Allow: " + allowBridged + "\r\n"
		r.until = time.Now().Add(inviteTime)
		r.count(1)
	}
	l.cseq++
	r.attempt = l.newAttempt(&out)
	b.send(ctx, r)
}

// refreshed takes the answer to a refresh of ours.
func (b *bridge) refreshed(r *relay, method string, e event) error {
	if e.err != nil {
		return errExpired
	}
	switch code := e.msg.Code(); {
	case code < 300:
		r.to.heed(e.msg, r.tx.path)
		r.to.startTimer(e.msg)
		if method == "INVITE" {
			return (&Answer{leg: r.to, tx: r.tx}).Ack(nil)
		}
	case code == 481 || code == 408: // RFC 4028 §10
		return statusError(method, e.msg)
	case method == "UPDATE": // it takes none after all
		r.to.joint.timer.update = false
		r.to.joint.timer.due = time.Now()
	}
	return nil
}
