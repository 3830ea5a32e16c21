package sipflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
	if interval, refresher := sessionExpires(res); interval > 0 {
		t.interval, t.ours = max(interval, minSession), refresher == "uac"
	}
	if v := res.Get(wire.Allow); v != nil {
		t.update = bytes.Contains(v, []byte("UPDATE"))
	}
	t.restart()
}

func (t *sessionTimer) restart() {
	if t.interval == 0 {
		return
	}
	wait := t.interval / 2 // RFC 4028 §10: the refresher at half of it
	if !t.ours {           // the other hangs up a little before its end
		wait = t.interval - min(32*time.Second, t.interval/3)
	}
	t.due = time.Now().Add(wait)
}

// sessionAnswer is what our 2xx to a phone's INVITE or UPDATE says of the
// session timer: what the phone asked for, itself as the refresher unless it
// named us (RFC 4028 §9).
func (l *Leg) sessionAnswer(req *wire.Message) string {
	interval, refresher := sessionExpires(req)
	if interval == 0 {
		l.joined().timer.restart()
		return ""
	}
	t := &l.joined().timer
	t.interval, t.ours = max(interval, minSession), refresher == "uas"
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
	if due.IsZero() {
		b.clock.Stop()
		return
	}
	b.clock.Reset(time.Until(due))
}

// tick does what is due.
func (b *bridge) tick(ctx context.Context) error {
	now := time.Now()
	if t := b.transfer; t != nil && !now.Before(t.until) {
		b.call.aside(t.target, func() { // its 487 must not keep the bridge waiting
			t.giveUp(ErrNoAnswer)
		})
		return b.transferFailed(t)
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
	if l.invitePending() {
		return
	}
	seconds := strconv.Itoa(int(t.interval / time.Second))
	out := outgoing{method: "UPDATE", header: "Supported: timer\r\nSession-Expires: " + seconds + ";refresher=uac\r\n"}
	if !t.update {
		out.method = "INVITE"
		out.header += "Allow: " + allowBridged + "\r\n"
		if other := b.other(l); other != nil && len(other.joined().remote) > 0 {
			out.contentType, out.body = sdpType, l.describe(other.joined().remote)
		}
		l.peer.invites(1)
	}
	l.cseq++
	r := &relay{to: l, attempt: l.newAttempt(out)}
	b.send(ctx, r)
}

// refreshed takes the answer to a refresh of ours.
func (b *bridge) refreshed(ctx context.Context, r *relay, method string, e event) error {
	if e.err != nil {
		return errExpired
	}
	switch code := e.msg.Code(); {
	case code < 300:
		r.to.heed(e.msg)
		r.to.startTimer(e.msg)
		if method == "INVITE" {
			return (&Answer{leg: r.to, tx: r.tx}).Ack(nil)
		}
	case code == 481 || code == 408: // RFC 4028 §10
		return statusError(method, e.msg)
	}
	return nil
}
