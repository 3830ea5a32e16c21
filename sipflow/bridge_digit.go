package sipflow

import (
	"strings"

	"sipxrest/sipflow/wire"
)

// DTMF is the media type of an INFO that carries a digit.
type DTMF string

// The two in use; neither is of any RFC.
const (
	DTMFRelay DTMF = "application/dtmf-relay" // with its length
	DTMFPlain DTMF = "application/dtmf"       // the digit alone
)

// digitOf is the digit of an INFO, 0 when it has none.
func digitOf(m *wire.Message) byte {
	var digit string
	kind, _, _ := strings.Cut(string(m.Get(wire.ContentType)), ";")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case string(DTMFPlain):
		digit = string(m.Body())
	case string(DTMFRelay):
		for line := range strings.Lines(string(m.Body())) {
			name, value, _ := strings.Cut(line, "=")
			if strings.EqualFold(strings.TrimSpace(name), "Signal") {
				digit = value
			}
		}
	}
	switch digit = strings.ToUpper(strings.TrimSpace(digit)); digit {
	case "10": // as some write them (the event codes of RFC 4733)
		digit = "*"
	case "11":
		digit = "#"
	}
	if len(digit) != 1 || strings.IndexByte("0123456789*#ABCD", digit[0]) < 0 {
		return 0
	}
	return digit[0]
}
