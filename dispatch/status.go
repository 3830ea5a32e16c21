package dispatch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Codes that a call is refused with.
const (
	codeDecline  = 603 // a webhook says hang up and no more
	codeFallback = 480 // the webhook failed: 503 would make others avoid all of us (RFC 3261 §21.5.4)
	codeNoRule   = 404
	codeMedia    = 488
)

// statusNames are the final responses by the names of LiveKit's SIPStatusCode.
var statusNames = map[string]int{
	"UNKNOWN": 0, "BAD_REQUEST": 400, "UNAUTHORIZED": 401, "PAYMENT_REQUIRED": 402, "FORBIDDEN": 403, "NOTFOUND": 404, "NOT_FOUND": 404,
	"METHOD_NOT_ALLOWED": 405, "NOT_ACCEPTABLE": 406, "PROXY_AUTH_REQUIRED": 407, "REQUEST_TIMEOUT": 408, "CONFLICT": 409, "GONE": 410,
	"REQUEST_ENTITY_TOO_LARGE": 413, "REQUEST_URI_TOO_LONG": 414, "UNSUPPORTED_MEDIA_TYPE": 415, "REQUESTED_RANGE_NOT_SATISFIABLE": 416,
	"BAD_EXTENSION": 420, "EXTENSION_REQUIRED": 421, "INTERVAL_TOO_BRIEF": 423, "TEMPORARILY_UNAVAILABLE": 480,
	"CALL_TRANSACTION_DOES_NOT_EXISTS": 481, "CALL_TRANSACTION_DOES_NOT_EXIST": 481, "LOOP_DETECTED": 482, "TOO_MANY_HOPS": 483,
	"ADDRESS_INCOMPLETE": 484, "AMBIGUOUS": 485, "BUSY_HERE": 486, "REQUEST_TERMINATED": 487, "NOT_ACCEPTABLE_HERE": 488,
	"INTERNAL_SERVER_ERROR": 500, "NOT_IMPLEMENTED": 501, "BAD_GATEWAY": 502, "SERVICE_UNAVAILABLE": 503, "GATEWAY_TIMEOUT": 504,
	"VERSION_NOT_SUPPORTED": 505, "MESSAGE_TOO_LARGE": 513, "GLOBAL_BUSY_EVERYWHERE": 600, "GLOBAL_DECLINE": 603,
	"GLOBAL_DOES_NOT_EXIST_ANYWHERE": 604, "GLOBAL_NOT_ACCEPTABLE": 606,
	// Known to protocol buffers, but no way to refuse a call.
	"TRYING": 100, "RINGING": 180, "CALL_IS_FORWARDED": 181, "QUEUED": 182, "SESSION_PROGRESS": 183, "OK": 200, "ACCEPTED": 202,
	"MOVED_PERMANENTLY": 301, "MOVED_TEMPORARILY": 302, "USE_PROXY": 305,
}

// parseCode reads a final response: 486, "486" or SIP_STATUS_BUSY_HERE. 0 is
// "not given", as in protocol buffers.
func parseCode(text string) (int, error) {
	text = strings.TrimSpace(text)
	code, err := strconv.Atoi(text)
	if err != nil {
		known := false
		name := strings.ToUpper(text)
		if code, known = statusNames[strings.TrimPrefix(name, "SIP_STATUS_")]; !known {
			return 0, fmt.Errorf("%.64q is no SIP status: write 486, or SIP_STATUS_BUSY_HERE", text)
		}
	}
	if code == 0 {
		return 0, nil
	}
	return code, checkCode(code)
}

func checkCode(code int) error {
	switch {
	case code < 400 || code > 699:
		return fmt.Errorf("%d does not refuse a call: write a code from 400 to 699", code)
	case code == 401 || code == 407:
		return fmt.Errorf("%d asks for credentials, which nobody would check: write another code from 400 to 699", code)
	}
	return nil
}

// errDraining503 refuses 503 where a rule is written.
var errDraining503 = errors.New("503 makes others avoid the whole server (RFC 3261 §21.5.4): write 480, or leave it out")

// maxPhrase bounds a reason phrase and a display name, in runes.
const maxPhrase = 128

// phrase is a text that may stand in a line of a SIP message: without line
// breaks and whatever else cannot be seen, and not long.
func phrase(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(text, "") {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			if r == '\r' || r == '\n' || r == '\t' {
				r = ' '
			} else {
				continue
			}
		}
		if n++; n > maxPhrase {
			break
		}
		b.WriteRune(r)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
