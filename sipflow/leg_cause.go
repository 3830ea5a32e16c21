package sipflow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"

	"sipxrest/internal/limit"
	"sipxrest/sipflow/wire"
)

// CauseOf says what of a Cause an error of a call tells: the response or request
// behind it, and the cause of the telephone network. It knows nothing of legs, and so
// not by whom.
func CauseOf(err error) Cause {
	c := Cause{Err: err}
	var refused *StatusError
	var sent *sentError
	var hungUp *hungUpError
	var client *ClientHangUp
	switch {
	case err == nil:
		return c
	case errors.Is(err, ErrHungUp):
		c.Method = "BYE"
		if errors.As(err, &hungUp) {
			c.heard(hungUp.reasons)
		}
		return c
	case errors.Is(err, ErrCancelled):
		c.Method = "CANCEL"
		c.heard(cancelReasons(err))
		c.Elsewhere = saysElsewhere(cancelReasons(err))
		return c
	case errors.As(err, &client):
		c.Q850, c.Q850Text, c.Q850Header = client.Cause, client.Text, client.Cause != 0 // it is what the phones are told
		return c
	case errors.Is(err, ErrReplaced), errors.Is(err, ErrHungUpByUser), errors.Is(err, ErrDraining), errors.Is(err, ErrTimeLimit),
		errors.Is(err, ErrForbidden), errors.Is(err, ErrUnreachable), errors.Is(err, ErrNodeLost), errors.Is(err, ErrForgotten): // whatever a hop before may have said
		return c
	case errors.Is(err, ErrNoAnswer):
		c.ranOut("INVITE", "No Answer")
	case errors.Is(err, ErrUnreported):
		c.ranOut("NOTIFY", "")
	case errors.As(err, &sent):
		c.Code, c.Reason, c.Method = sent.Code, sent.Reason, sent.Method
		c.heard(sent.cause)
	case errors.As(err, &refused):
		c.Code, c.Reason, c.Method, c.Synthesized = refused.Code, refused.Reason, refused.Method, true
	case errors.Is(err, errExpired):
		c.ranOut("UPDATE", "")
		c.Lost = true
	case errors.Is(err, errNoAck):
		c.ranOut("ACK", "")
		c.Lost = true
	case errors.Is(err, errTimeout), errors.Is(err, context.DeadlineExceeded):
		c.ranOut("", "")
	case errors.Is(err, errNoSDP):
		c.Code, c.Reason, c.Method, c.Synthesized = 488, wire.Phrase(488), "INVITE", true
	}
	if c.Q850 == 0 {
		c.Q850, c.Q850Text = mappedCause(c.Code)
	}
	return c
}

// ranOut is a 408 that nobody sent.
func (c *Cause) ranOut(method, reason string) {
	if reason == "" {
		reason = wire.Phrase(408)
	}
	c.Code, c.Reason, c.Method, c.Synthesized = 408, reason, method, true
}

// heard takes the cause of the telephone network from Reason header lines.
func (c *Cause) heard(reasons string) {
	for line := range strings.Lines(reasons) {
		_, value, _ := strings.Cut(line, ":")
		wire.Split([]byte(strings.TrimSpace(value)), func(one []byte) bool {
			end := bytes.IndexByte(one, ';')
			if end < 0 || !strings.EqualFold(string(bytes.TrimSpace(one[:end])), "Q.850") {
				return true
			}
			number, _ := wire.Param(one[end:], "cause")
			if n, err := strconv.ParseUint(string(number), 10, 7); err == nil && n > 0 {
				text, _ := wire.Param(one[end:], "text")
				c.Q850, c.Q850Header = int(n), true
				if c.Q850Text = limit.Clip(string(text), maxReported); c.Q850Text == "" {
					c.Q850Text = causeTexts[c.Q850]
				}
			}
			return c.Q850 == 0
		})
		if c.Q850 != 0 {
			return
		}
	}
}

// saysElsewhere reports whether a CANCEL says that another phone has answered: "Call
// completed elsewhere", in SIP a 200 (RFC 3326 §3.1).
func saysElsewhere(reasons string) (elsewhere bool) {
	for line := range strings.Lines(reasons) {
		_, value, _ := strings.Cut(line, ":")
		wire.Split([]byte(strings.TrimSpace(value)), func(one []byte) bool {
			if end := bytes.IndexByte(one, ';'); end >= 0 && strings.EqualFold(string(bytes.TrimSpace(one[:end])), "SIP") {
				code, _ := wire.Param(one[end:], "cause")
				elsewhere = string(code) == "200"
			}
			return !elsewhere
		})
		if elsewhere {
			break
		}
	}
	return elsewhere
}

// mappedCause is the cause of the telephone network for a refusal (RFC 3398 §8.2.6.1);
// 0 where there is none: 487 ends what we cancel, and of 488 and 606 a Warning decides.
func mappedCause(code int) (cause int, text string) {
	switch code {
	case 404, 485, 604:
		cause = 1
	case 486, 600:
		cause = 17
	case 480:
		cause = 18
	case 401, 402, 403, 407, 603:
		cause = 21
	case 410:
		cause = 22
	case 482, 483:
		cause = 25
	case 484:
		cause = 28
	case 502:
		cause = 38
	case 400, 481, 500, 503:
		cause = 41
	case 405:
		cause = 63
	case 406, 415, 501:
		cause = 79
	case 408, 504:
		cause = 102
	case 413, 414, 416, 420, 421, 423, 505, 513:
		cause = 127
	}
	return cause, causeTexts[cause]
}

// causeTexts are the names of causes that are often seen (ITU-T Q.850).
var causeTexts = map[int]string{
	1: "Unallocated number", 2: "No route to network", 3: "No route to destination", 16: "Normal call clearing", 17: "User busy",
	18: "No user responding", 19: "No answer from user", 20: "Subscriber absent", 21: "Call rejected", 22: "Number changed",
	25: "Exchange routing error", 26: "Non-selected user clearing", 27: "Destination out of order", 28: "Invalid number format",
	31: "Normal, unspecified", 34: "No circuit available", 38: "Network out of order", 41: "Temporary failure",
	42: "Switching equipment congestion", 47: "Resource unavailable", 63: "Service or option not available",
	79: "Service or option not implemented", 88: "Incompatible destination", 102: "Recovery on timer expiry", 127: "Interworking, unspecified",
}

// endOf says why the leg ended by an error: by whom, and where.
// l.of.mu is held.
func (l *legRecord) endOf(err error) Cause {
	c := CauseOf(err)
	c.Leg, c.Stage = l.report.N, cmp.Or(l.endedAt, l.of.stage)
	if l.joining {
		c.Stage = StageTransfer
	}
	up := l.state == legAnswered && l.report.Via == ""
	if up && (c.Code == 481 || c.Code == 408) && c.Method != "REFER" && c.Method != "NOTIFY" {
		c.Lost = true
	}
	if c.Code != 0 && !c.Synthesized {
		c.Hop = l.report.Hop
	}
	c.By = l.blamed(&c, up)
	return c
}

// blamed is who the leg's end is put down to. A server speaks for a phone that has not
// rung, unless what it says only a phone can know.
func (l *legRecord) blamed(c *Cause, up bool) Party {
	who := CalledParty
	if l.firstPhone() {
		who = CallingParty
	}
	rang := l.state >= legAlerted
	switch {
	case c.Method == "BYE", c.Method == "CANCEL", c.Method == "REFER", errors.Is(c.Err, ErrUnreported):
		return who
	case c.Lost:
		return NetworkParty
	case errors.Is(c.Err, ErrNoAnswer), errors.Is(c.Err, ErrForbidden), errors.Is(c.Err, ErrDraining), errors.Is(c.Err, ErrTimeLimit),
		errors.Is(c.Err, ErrInternal), errors.Is(c.Err, ErrNodeLost), errors.Is(c.Err, ErrForgotten):
		return Self
	case errors.Is(c.Err, ErrReplaced), errors.Is(c.Err, ErrHungUpByUser), errors.Is(c.Err, ErrRedirected), errors.Is(c.Err, ErrMerged):
		return ClientParty
	case errors.Is(c.Err, ErrUnreachable):
		return NetworkParty
	}
	switch code := c.Code; {
	case code == 0:
		return Self
	case code == 415, code == 488, code == 603, code == 606:
		return who
	case code == 401, code == 407, code == 404, code == 604, code == 408, code == 410, code == 480, code == 482, code == 483, code == 484,
		code >= 500 && code < 600:
		return NetworkParty
	case rang:
		return who
	}
	return NetworkParty
}
