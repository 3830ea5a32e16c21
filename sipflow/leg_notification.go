package sipflow

import (
	"bytes"
	"strconv"
	"time"

	"sipxrest/sipflow/wire"
)

// maxNotification bounds what is kept of a NOTIFY body, in bytes.
const maxNotification = 2048

// Notification is one NOTIFY of a REFER's subscription (RFC 3515 §2.4.5).
type Notification struct {
	At         time.Time
	Text       string // the body, trimmed, at most 2 KiB
	Code       int    // of the status line in the body; 0 when there is none
	Reason     string // its reason phrase
	Terminated bool   // Subscription-State: terminated
	refer      uint32 // CSeq of the REFER that it is about
}

func notificationOf(m *wire.Message) Notification {
	body := bytes.TrimSpace(m.Body())
	n := Notification{Text: string(body[:min(len(body), maxNotification)])}
	n.Code, n.Reason = parseSipfrag(body)
	state := m.Get(wire.SubscriptionState)
	if i := bytes.IndexByte(state, ';'); i >= 0 {
		state = state[:i]
	}
	n.Terminated = bytes.EqualFold(bytes.TrimSpace(state), []byte("terminated"))
	if state == nil && n.Code >= 200 {
		n.Terminated = true // a phone older than RFC 3265; nothing can follow
	}
	return n
}

// saysOutcome reports whether a request is a NOTIFY with the final status of a
// referred call. There is one of those, so that it counts even if others with a
// higher CSeq came before it.
func saysOutcome(m *wire.Message) bool {
	if m.Method() != "NOTIFY" {
		return false
	}
	code, _ := parseSipfrag(bytes.TrimSpace(m.Body()))
	return code >= 200
}

// parseSipfrag reads the status line of a message/sipfrag body. Only that line
// counts (RFC 3515 §2.4.5); anything else is code 0.
func parseSipfrag(body []byte) (code int, reason string) {
	line := body
	if i := bytes.IndexAny(line, "\r\n"); i >= 0 {
		line = line[:i]
	}
	version, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || !bytes.EqualFold(version, []byte("SIP/2.0")) {
		return 0, ""
	}
	digits, phrase, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte{' '})
	if len(digits) != 3 {
		return 0, ""
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, ""
		}
		code = code*10 + int(c-'0')
	}
	if code < 100 || code > 699 {
		return 0, ""
	}
	return code, string(phrase[:min(len(phrase), 128)])
}

func isReferEvent(v []byte) bool {
	if i := bytes.IndexByte(v, ';'); i >= 0 {
		v = v[:i]
	}
	return bytes.EqualFold(bytes.TrimSpace(v), []byte("refer"))
}

// A subscription is what a phone owes us for a REFER: NOTIFYs that say what
// becomes of it. When a REFER comes to nothing there may be a second one in the
// dialog while the phone has not ended the subscription of the first.
type subscription struct {
	open  bool   // the phone has not ended it
	refer uint32 // CSeq of the REFER that was sent last; 0 before the first
	first uint32 // CSeq of the first one
	// left is the outcome after which the phone left the subscription open, and
	// before that of the REFER before; 0 where there is none.
	left, before int16
}

// begin is the sending of a REFER.
func (s *subscription) begin(seq uint32) {
	if s.first == 0 {
		s.first = seq
	}
	if s.left != 0 {
		s.left, s.before = 0, s.left
	}
	s.open, s.refer = true, seq
}

// take enters a NOTIFY with this Event.
func (s *subscription) take(n *Notification, event []byte) {
	if n.refer = s.refer; s.earlier(n, event) {
		n.refer = s.first
		if n.Terminated {
			s.before = 0
		}
		return
	}
	s.before = 0 // the phone has begun to speak of the second
	switch {
	case n.Terminated:
		s.open, s.left = false, 0
	case n.Code >= 200:
		s.left = int16(n.Code)
	}
}

// earlier reports whether a NOTIFY is about a REFER before the one sent last: by
// its id (RFC 3515 §2.4.6), or because it ends what was left open with the same
// outcome. An id that no REFER of ours had says nothing.
func (s *subscription) earlier(n *Notification, event []byte) bool {
	if id, ok := wire.Param(event, "id"); ok {
		if seq, err := strconv.ParseUint(string(id), 10, 32); err == nil && uint32(seq) >= s.first {
			return uint32(seq) < s.refer
		}
	}
	return s.before != 0 && n.Terminated && (n.Code == int(s.before) || n.Code == 0)
}
