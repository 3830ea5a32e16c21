package sipflow

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"sipxrest/sipflow/wire"
)

// hungUpError is ErrHungUp of a phone that said why.
type hungUpError struct{ reasons string }

func (e *hungUpError) Error() string        { return ErrHungUp.Error() }
func (e *hungUpError) Is(target error) bool { return target == ErrHungUp }

// causedError is a refusal that says why in the words of the telephone network.
type causedError struct {
	*StatusError
	cause string // a Reason header line
}

func (e *causedError) Unwrap() error { return e.StatusError }

// causeOf is the Reason of a refusal for the other phone: that of Q.850 (RFC
// 6432 §4), for that of SIP is the refusal itself.
func causeOf(res *wire.Message) (line string) {
	for v := range res.All(wire.Reason) {
		wire.Split(v, func(one []byte) bool {
			protocol, _, _ := bytes.Cut(one, []byte(";"))
			if bytes.EqualFold(bytes.TrimSpace(protocol), []byte("Q.850")) && len(one) < maxRelayedHeader {
				line = string(wire.AppendField(nil, "Reason", string(one)))
			}
			return line == ""
		})
		if line != "" {
			break
		}
	}
	return line
}

// reasonsOf are the Reason header lines of a BYE or CANCEL (RFC 3326 §2: there
// may be one for each protocol), as the other phone gets them.
func reasonsOf(m *wire.Message) string {
	var b []byte
	for v := range m.All(wire.Reason) {
		if len(b)+len(v) < maxRelayedHeader {
			b = wire.AppendField(b, "Reason", string(v))
		}
	}
	return string(b)
}

// reasonFor is the Reason header line (RFC 3326) that tells a phone why it is
// hung up; empty when there is nothing to tell.
func (c *Call) reasonFor(err error) string {
	var refused *StatusError
	var caused *causedError
	var hungUp *hungUpError
	switch {
	case errors.As(err, &hungUp):
		return hungUp.reasons
	case errors.As(err, &caused):
		return reasonLine(caused.Code, caused.Reason) + caused.cause
	case errors.Is(err, ErrCancelled):
		return cancelReasons(err)
	case errors.As(err, &refused):
		return reasonLine(refused.Code, refused.Reason)
	case errors.Is(err, errNoNotify):
		return reasonLine(408, "No NOTIFY After REFER")
	case errors.Is(err, errTimeout), errors.Is(err, errExpired), errors.Is(err, errNoAck):
		return reasonLine(408, "")
	case errors.Is(err, errNoSDP):
		return reasonLine(488, "")
	case errors.Is(err, ErrDraining):
		return reasonLine(503, "Shutting Down")
	}
	return ""
}

func reasonLine(code int, text string) string {
	if text == "" {
		text = wire.Phrase(code)
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' || r == '\\' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	return "Reason: SIP;cause=" + strconv.Itoa(code) + `;text="` + text + "\"\r\n"
}
