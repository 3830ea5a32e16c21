package sipflow

import (
	"context"
	"strconv"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// sessionAnswer is what our 2xx to a phone's INVITE or UPDATE says of the
// session timer: what the phone asked for, itself as the refresher unless it
// named us or cannot (RFC 4028 §9).
func (l *Leg) sessionAnswer(req *wire.Message) string {
	t := &l.joinedMedia().timer
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
			sooner(l.joinedMedia().timer.due)
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
		if due, err := l.refreshDue(now); err != nil {
			return err
		} else if due {
			b.refresh(ctx, l)
		}
	}
	return nil
}

// refresh asks a phone whether it is still there: by UPDATE where it takes
// that, else by an INVITE with the description that it knows (RFC 4028 §10).
func (b *bridge) refresh(ctx context.Context, l *Leg) {
	t := &l.media.timer
	other := b.other(l)
	if other == nil || !l.peer.idle() { // the INVITE under way refreshes the session as well
		return
	}
	r := &forward{to: l}
	out := outgoing{method: "UPDATE", header: l.sessionHeader()}
	if !t.update {
		if len(other.joinedMedia().remote) == 0 {
			return
		}
		out.method, out.contentType, out.body = "INVITE", sdp.Type, l.describe(other.media.remote)
		out.header += "Allow: " + allowBridged + "\r\n"
		r.until = time.Now().Add(inviteTime)
		r.count(1)
	}
	l.cseq++
	r.attempt = l.newAttempt(&out)
	b.send(ctx, r)
}

// refreshed takes the response to a refresh of ours.
func (b *bridge) refreshed(r *forward, method string, e event) error {
	if e.err != nil {
		return errExpired
	}
	if e.msg.Code() >= 300 {
		return r.to.media.timer.notRefreshed(statusError(method, e.msg), method == "UPDATE")
	}
	r.to.refreshTarget(e.msg, r.tx.path)
	r.to.startTimer(e.msg)
	if method == "INVITE" {
		return (&Success{leg: r.to, tx: r.tx}).Ack(nil)
	}
	return nil
}
