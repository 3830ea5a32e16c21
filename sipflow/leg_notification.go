package sipflow

import (
	"bytes"
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
