package callcontroller

import (
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

const (
	maxTimeout         = 3600  // seconds
	maxResultCacheTime = 86400 // seconds
	maxSubject         = 200   // characters
	maxConfPIN         = 64    // bytes
)

// param is one query parameter. Its value is decoded when it is used: what
// nobody reads may be malformed.
type param struct {
	raw   string
	given bool
}

// value is the decoded value; without an escape that is valid, the raw one
// and false.
func (p param) value() (string, bool) {
	if !strings.ContainsAny(p.raw, "%+") {
		return p.raw, true
	}
	v, err := url.QueryUnescape(p.raw)
	if err != nil {
		return p.raw, false
	}
	return v, true
}

// user is the decoded value of a parameter that names a user.
func (p param) user() (string, bool) { return restauth.UserParam(p.raw) }

// params are the parameters that callcontroller knows.
type params struct {
	agent, sipMethod, action, target param
	timeout, resultCacheTime         param
	subject, isForwardingAllowed     param
	autoAnswer                       param
	confpin                          param
}

// places reports whether a POST asks for a call, and not for something of one in
// progress.
func (p *params) places() bool {
	action, _ := p.action.value()
	return action == "" || strings.EqualFold(action, "call")
}

// parseParams reads a query string. Of a parameter given twice the first
// counts; unknown ones are passed over.
func parseParams(query string) (p params) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(name, "%+") {
			var err error
			if name, err = url.QueryUnescape(name); err != nil {
				continue
			}
		}
		var to *param
		switch name {
		case "agent":
			to = &p.agent
		case "sipMethod":
			to = &p.sipMethod
		case "action":
			to = &p.action
		case "target":
			to = &p.target
		case "timeout":
			to = &p.timeout
		case "resultCacheTime":
			to = &p.resultCacheTime
		case "subject":
			to = &p.subject
		case "isForwardingAllowed":
			to = &p.isForwardingAllowed
		case "autoAnswer":
			to = &p.autoAnswer
		case "confpin":
			to = &p.confpin
		default:
			continue
		}
		if !to.given {
			*to = param{value, true}
		}
	}
	return p
}

// refusal is a response that says no: the HTTP status, and the code and text of
// the processing-status document. Code and status differ where sipXrest's did.
type refusal struct {
	status, code int
	text         string
	retry        int // Retry-After in seconds; 0: none, but that of every 503
}

// badParameter refuses a parameter with sipXrest's words. The value is cut:
// nobody gets back more than he may need to recognise it.
func badParameter(name, value string) *refusal {
	text := "Bad parameter " + name + " = " + clip(value)
	if !utf8.ValidString(value) { // what JavaScript's escape() makes of ä
		text += ": it is not UTF-8, write ä as %C3%A4 (encodeURIComponent)"
	}
	return &refusal{status: 400, code: 400, text: text}
}

// seconds reads a number of seconds from 0 to limit, ifAbsent without one.
func seconds(name string, p param, limit int, ifAbsent time.Duration) (time.Duration, *refusal) {
	if p.raw == "" {
		return ifAbsent, nil
	}
	text, ok := p.value()
	n, err := strconv.Atoi(text)
	if !ok || err != nil || n < 0 || n > limit {
		return 0, badParameter(name, text)
	}
	return time.Duration(n) * time.Second, nil
}

// printable reads a text without control characters of at most limit
// characters, or bytes.
func printable(name string, p param, limit int, count func(string) int) (string, *refusal) {
	text, ok := p.value()
	if !ok || !utf8.ValidString(text) || count(text) > limit || strings.IndexFunc(text, unicode.IsControl) >= 0 {
		return "", badParameter(name, text)
	}
	return text, nil
}

func byteCount(s string) int { return len(s) }

// request is a POST that is well-formed.
type request struct {
	transfer          bool
	target            order.Party // of a transfer
	method            string      // "refer" or "invite"
	methodGiven       string      // as the client wrote it
	timeout, keep     time.Duration
	subject, confPIN  string
	forwardingAllowed bool
	autoAnswer        bool
	requestID         string // what the client calls its request
}

// parseOrder checks the parameters of a POST, in sipXrest's order.
func (c *Controller) parseOrder(p *params) (o request, r *refusal) {
	if o.timeout, r = seconds("timeout", p.timeout, maxTimeout, c.cfg.Timeout); r != nil {
		return o, r
	}
	if o.keep, r = seconds("resultCacheTime", p.resultCacheTime, maxResultCacheTime, c.cfg.ResultCacheTime); r != nil {
		return o, r
	}
	switch action, _ := p.action.value(); {
	case p.places():
		given, _ := p.sipMethod.value()
		o.methodGiven = given
		switch {
		case given == "", strings.EqualFold(given, methodRefer):
			o.method = methodRefer
		case strings.EqualFold(given, methodInvite):
			o.method = methodInvite
		default:
			return o, &refusal{status: 406, code: 406, text: "Call Setup Method " + clip(given) + " not supported"}
		}
	case strings.EqualFold(action, "transfer"):
		o.transfer = true
		text, ok := p.target.user()
		if text == "" {
			return o, &refusal{status: 400, code: 400, text: "Need a transfer target parameter"}
		}
		if ok {
			o.target, ok = c.names.Party(text)
		}
		if !ok {
			return o, badParameter("target", text)
		}
	default:
		return o, badParameter("action", action)
	}
	if o.subject, r = printable("subject", p.subject, maxSubject, utf8.RuneCountInString); r != nil {
		return o, r
	}
	if o.confPIN, r = printable("confpin", p.confpin, maxConfPIN, byteCount); r != nil {
		return o, r
	}
	forwarding, _ := p.isForwardingAllowed.value()
	o.forwardingAllowed = strings.EqualFold(forwarding, "true")
	pickUp, _ := p.autoAnswer.value()
	o.autoAnswer = strings.EqualFold(pickUp, "true")
	switch {
	case !o.autoAnswer:
	case c.cfg.AutoAnswer == sipflow.NoAutoAnswer:
		return o, &refusal{status: 400, code: 400, text: "Bad parameter autoAnswer = true, call.auto-answer is off"}
	case o.forwardingAllowed: // whoever the agent's calls are forwarded to would be listened to
		return o, &refusal{status: 400, code: 400, text: "Bad parameter autoAnswer = true with isForwardingAllowed = true: the phone that picks up could be another's"}
	}
	return o, nil
}
