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
	if l.call.Method != MethodInvite && l.media == nil {
		return // a referred phone is not kept
	}
	t := &l.joinedMedia().timer
	interval, refresher := sessionExpires(res)
	t.interval, t.ours = 0, refresher != "uas" // none in the response: the session has no end (§7.2)
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
	t := &l.joinedMedia().timer
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

// refreshDue reports whether a phone is to be asked now whether it is still there
// (RFC 4028 §10). errExpired means that the phone should have asked us.
func (l *Leg) refreshDue(now time.Time) (bool, error) {
	t := &l.joinedMedia().timer
	if t.due.IsZero() || now.Before(t.due) {
		return false, nil
	}
	if !t.ours {
		return false, errExpired
	}
	t.due = now.Add(t.interval / 4) // should this one come to nothing
	return true, nil
}

// notRefreshed takes a refresh of ours that was no success. An error ends the
// session (RFC 4028 §10); otherwise it goes on until it is due again.
func (t *sessionTimer) notRefreshed(err error, byUpdate bool) error {
	var refused *StatusError
	switch {
	case errors.Is(err, errTimeout):
		return errExpired
	case !errors.As(err, &refused) || refused.Code == 481 || refused.Code == 408:
		return err
	case byUpdate: // it takes none after all
		t.update, t.due = false, time.Now()
	}
	return nil
}

// tooBrief refuses a session interval (RFC 4028 §9).
var tooBrief = wire.Reply{Code: 422, Header: "Min-SE: 90\r\n"}

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

// sessionTerms is what a 2xx says of the session timer that a request asks for, where
// nothing is timed yet: it may have that, by the phone if it can (RFC 4028 §9).
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
