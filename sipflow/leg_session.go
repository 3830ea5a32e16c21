package sipflow

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sipxrest/sipflow/wire"
)

// minSession is the shortest session interval that we agree to (RFC 4028 §4).
const minSession = 90 * time.Second

// sessionTimer watches that a leg's phone is still there (RFC 4028). It belongs to the
// leg's peer: the reader takes what the phone says of the session, in every state. The
// call hears when something is due, and does it whatever it waits for (see leg_refresh.go).
type sessionTimer struct {
	leg   *Leg
	timer timer // guarded by the shard's lock, what follows by peer.mu

	interval time.Duration // 0: the phone wants no timer any more
	ours     bool          // we are the refresher
	due      time.Duration // when we refresh, or hang up, since the shard's start; 0: never
	end      time.Duration // when the session is over without a refresh
	told     []byte        // our part of what was agreed on last, while the leg is alone
}

// startTimer takes the session interval from a 2xx to an INVITE or UPDATE of
// ours, or restarts the one that there is. None in it: the session has no end
// (RFC 4028 §7.2). r is our request.
func (l *Leg) startTimer(res *wire.Message, r *outgoing) {
	p, s := &l.peer, l.shard()
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if res.Get(wire.Allow) != nil {
		p.updates = wire.Lists(res, wire.Allow, "update")
	}
	if l.kept != nil {
		l.kept.tells(r.description())
	}
	interval, refresher := sessionExpires(res)
	if p.session == nil && interval == 0 {
		return
	}
	if interval > 0 {
		interval = max(interval, minSession)
	}
	l.keepSession(s, interval, refresher != "uas", r.description())
}

// keepSession sets the timer of the session, which somebody has asked for or goes on
// with. The shard's lock and peer.mu are held.
func (l *Leg) keepSession(s *shard, interval time.Duration, ours bool, told []byte) {
	p := &l.peer
	if p.session == nil {
		p.session = &sessionTimer{leg: l}
	}
	t := p.session
	t.interval, t.ours = interval, ours
	if len(told) > 0 {
		t.told = told
	}
	t.restart(s)
}

// sessionHeader is what our INVITE or UPDATE in the dialog says of the timer:
// it goes on as it is (RFC 4028 §7.4).
func (l *Leg) sessionHeader() string {
	p := &l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.session
	if t == nil || t.interval == 0 {
		return supported
	}
	refresher := "uas"
	if t.ours {
		refresher = "uac"
	}
	return supported + "Session-Expires: " + strconv.Itoa(int(t.interval/time.Second)) + ";refresher=" + refresher + "\r\n"
}

// sessionAnswer is what our 2xx to a phone's INVITE or UPDATE says of the
// session timer: what the phone asked for, itself as the refresher unless it
// named us or cannot (RFC 4028 §9). told is the description in the 2xx.
func (l *Leg) sessionAnswer(req *wire.Message, told []byte) string {
	p, s := &l.peer, l.shard()
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.answerSession(s, req, told)
}

// answerSession is sessionAnswer with the shard's lock and peer.mu held.
func (l *Leg) answerSession(s *shard, req *wire.Message, told []byte) string {
	p := &l.peer
	l.kept.tells(told)
	if req.Method() == "UPDATE" {
		p.updates = true
	} else if req.Get(wire.Allow) != nil {
		p.updates = wire.Lists(req, wire.Allow, "update")
	}
	interval, refresher := sessionExpires(req)
	if interval == 0 {
		if t := p.session; t != nil {
			if !t.ours { // it does not keep the session any more
				t.interval = 0
			}
			l.keepSession(s, t.interval, t.ours, told)
		}
		return ""
	}
	ours := refresher == "uas" || !supports(req, "timer")
	l.keepSession(s, interval, ours, told)
	return sessionTerms(req)
}

// restart begins the session anew. The shard's lock and peer.mu are held.
func (t *sessionTimer) restart(s *shard) {
	t.timer.stop()
	if t.due = 0; t.interval == 0 {
		return
	}
	wait := t.interval / 2 // RFC 4028 §10: the refresher at half of it
	if !t.ours {           // the other hangs up a little before its end
		wait = t.interval - min(32*time.Second, t.interval/3)
	}
	t.end = s.now() + t.interval
	t.wait(s, s.now()+wait)
}

// wait has the call told at that time. The shard's lock and peer.mu are held.
func (t *sessionTimer) wait(s *shard, until time.Duration) {
	t.due = until
	t.timer.set(s, until-s.now(), t)
}

// expire implements expirer.
func (t *sessionTimer) expire(s *shard) func() {
	p := &t.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	switch now := s.now(); {
	case t.due == 0 || !p.up:
	case now < t.due:
		t.timer.set(s, t.due-now, t)
	default:
		t.leg.inbox.put(event{due: true}, true)
	}
	return nil
}

// abort implements expirer. The session goes on without a timer.
func (t *sessionTimer) abort(*shard) func() {
	t.leg.peer.mu.Lock()
	defer t.leg.peer.mu.Unlock()
	t.due = 0
	return nil
}

// endSession stops the timer: the leg is over. The shard's lock and mu are held.
func (p *peer) endSession() {
	if p.session != nil {
		p.session.timer.stop()
		p.session.due = 0
	}
}

// refreshDue reports whether a phone is to be asked now whether it is still there (RFC
// 4028 §10), and asked by UPDATE. asking says that it is being asked already. errExpired
// means that the phone should have asked us, or has taken none of ours; it is told once.
//
// An INVITE under way refreshes the session as well, if it comes to something. The session
// does not end before that; if it takes long, an UPDATE goes out beside it.
func (l *Leg) refreshDue(asking bool) (due, byUpdate bool, err error) {
	p, s := &l.peer, l.shard()
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.session
	if t == nil || t.due == 0 || !p.up || s.now() < t.due { // or it has just been refreshed
		return false, false, nil
	}
	idle := asking || p.isIdle()
	if idle && (!t.ours || s.now() >= t.end) {
		t.due = 0
		return false, false, errExpired
	}
	long := t.end-s.now() <= t.interval/4
	t.wait(s, s.now()+t.interval/4) // should this one come to nothing
	return t.ours && (idle || long && p.updates && p.updating == 0), p.updates, nil
}

// refreshDueIn has the call look again after that time.
func (l *Leg) refreshDueIn(wait time.Duration) {
	p, s := &l.peer, l.shard()
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.session; t != nil && t.due != 0 {
		t.wait(s, s.now()+wait)
	}
}

// toldLast is our description as the phone knows it, where that is kept.
func (l *Leg) toldLast() []byte {
	p := &l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		return nil
	}
	return p.session.told
}

// tell keeps a description that the phone got in an ACK.
func (l *Leg) tell(body []byte) {
	p := &l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	l.kept.tells(body)
	if p.session != nil && len(body) > 0 {
		p.session.told = body
	}
}

// notRefreshed takes a refresh of ours that was no success. An error ends the
// session (RFC 4028 §10); otherwise it goes on until it is due again.
func (l *Leg) notRefreshed(err error, byUpdate bool) error {
	var refused *StatusError
	switch {
	case errors.Is(err, errTimeout):
		return errExpired
	case !errors.As(err, &refused) || refused.Code == 481 || refused.Code == 408:
		return err
	case byUpdate && refused.Code != 491 && refused.Code/100 != 5 || refused.Code == 501: // it takes none after all
		p, s := &l.peer, l.shard()
		s.mu.Lock()
		defer s.mu.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		took := p.updates
		p.updates = false
		if t := p.session; took && t != nil && t.due != 0 {
			t.due = s.now()
			l.inbox.put(event{due: true}, true)
		}
	}
	return nil
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

// sessionTerms is what a 2xx says of the session timer that a request asks for: it may
// have that, by the phone if it can (RFC 4028 §9).
func sessionTerms(req *wire.Message) string {
	interval, refresher := sessionExpires(req)
	switch {
	case interval == 0:
		return ""
	case refresher == "uas" || !supports(req, "timer"):
		return fmt.Sprintf("Session-Expires: %d;refresher=uas\r\n", int(interval/time.Second))
	}
	return fmt.Sprintf("Session-Expires: %d;refresher=uac\r\nRequire: timer\r\n", int(interval/time.Second))
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
