package wire

import (
	"bytes"
	"net/netip"
	"strconv"
)

// AppendField appends one header line.
func AppendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, '\r', '\n')
}

// AppendBody ends the header with Content-Length and appends the body.
func AppendBody(b, body []byte) []byte { return AppendBodyAnd(b, body, "") }

// AppendBodyAnd is AppendBody for a body in two parts.
func AppendBodyAnd(b, body []byte, rest string) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)+len(rest)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(append(b, body...), rest...)
}

// A Reply is a response to a request.
type Reply struct {
	Code        int
	Reason      string // "" for the usual phrase
	ToTag       string // added when the request's To has none
	Header      string // further header lines, each ended by CRLF
	ContentType string
	Body        []byte
	Brief       bool // in as few bytes as can be: no phrase, no further fields, no body
}

// AppendReply appends the response to a request that came from source: Via,
// From, To, Call-ID and CSeq are the request's (RFC 3261 §8.2.6.2), the first of
// each where it has several, the top Via with received and rport (§18.2.1, RFC
// 3581).
func AppendReply(b []byte, req *Message, source netip.AddrPort, r Reply) []byte {
	if r.Brief {
		return appendBrief(b, req, source, r)
	}
	if r.Reason == "" {
		r.Reason = Phrase(r.Code)
	}
	b = append(b, "SIP/2.0 "...)
	b = strconv.AppendInt(b, int64(r.Code), 10)
	b = append(b, ' ')
	b = append(b, r.Reason...)
	b = append(b, '\r', '\n')
	top, seen := true, uint64(0)
	for i := range req.fields {
		f := &req.fields[i]
		if bit := uint64(1) << f.id; seen&bit&singletons != 0 {
			continue
		} else {
			seen |= bit
		}
		v := req.cut(f.value)
		switch f.id {
		case Via:
			b = append(b, "Via: "...)
			if top {
				top = false
				b = appendTopVia(b, req, v, source)
			} else {
				b = append(b, v...)
			}
		case From, CallID, CSeq:
			b = append(b, names[f.id]...)
			b = append(b, ": "...)
			b = append(b, v...)
		case To:
			b = append(b, "To: "...)
			b = append(b, v...)
			if r.ToTag != "" && len(Tag(v)) == 0 {
				b = append(b, ";tag="...)
				b = append(b, r.ToTag...)
			}
		case RecordRoute:
			// A response that makes a dialog mirrors them (RFC 3261 §12.1.1).
			if r.Code < 101 || r.Code > 299 {
				continue
			}
			b = append(b, "Record-Route: "...)
			b = append(b, v...)
		default:
			continue
		}
		b = append(b, '\r', '\n')
	}
	b = append(b, r.Header...)
	if r.ContentType != "" {
		b = AppendField(b, "Content-Type", r.ContentType)
	}
	return AppendBody(b, r.Body)
}

// appendBrief is AppendReply in as few bytes as can be.
func appendBrief(b []byte, req *Message, source netip.AddrPort, r Reply) []byte {
	b = append(b, "SIP/2.0 "...)
	b = strconv.AppendInt(b, int64(r.Code), 10)
	b = append(b, " \r\n"...)
	top := true
	for v := range req.All(Via) {
		b = append(b, "v:"...)
		if top {
			b = appendTopVia(b, req, v, source)
		} else {
			b = append(b, v...)
		}
		top = false
		b = append(b, '\r', '\n')
	}
	b = append(append(b, "f:"...), req.Get(From)...)
	b = append(append(b, "\r\nt:"...), req.Get(To)...)
	if r.ToTag != "" && len(req.ToTag()) == 0 {
		b = append(append(b, ";tag="...), r.ToTag...)
	}
	b = append(append(b, "\r\ni:"...), req.Get(CallID)...)
	b = append(append(b, "\r\nCSeq:"...), req.Get(CSeq)...)
	return append(b, "\r\nl:0\r\n\r\n"...)
}

func appendTopVia(b []byte, req *Message, v []byte, source netip.AddrPort) []byte {
	via, ok := req.TopVia()
	if !ok || !source.IsValid() {
		return append(b, v...)
	}
	end := elementEnd(v)
	top, rest := bytes.TrimRight(v[:end], "; \t"), v[end:]
	if !via.RPort {
		b = append(b, top...)
		if !sentFrom(via, source) {
			b = appendReceived(b, source)
		}
		return append(b, rest...)
	}
	// rport without a value becomes rport=port.
	i := bytes.IndexByte(top, ';')
	b = append(b, top[:i]...)
	filled := false
	for p := top[i:]; len(p) > 0; {
		end := 1 + paramEnd(p[1:])
		name, _, _ := bytes.Cut(p[1:end], []byte("="))
		if !filled && equalFold(bytes.TrimSpace(name), "rport") {
			filled = true
			b = append(b, ";rport="...)
			b = strconv.AppendUint(b, uint64(source.Port()), 10)
		} else {
			b = append(b, p[:end]...)
		}
		p = p[end:]
	}
	b = appendReceived(b, source)
	return append(b, rest...)
}

func appendReceived(b []byte, source netip.AddrPort) []byte {
	b = append(b, ";received="...)
	return source.Addr().Unmap().WithZone("").AppendTo(b)
}

func sentFrom(v ViaValue, source netip.AddrPort) bool {
	host, _ := v.HostPort()
	a, err := netip.ParseAddr(string(host))
	return err == nil && a.Unmap() == source.Addr().Unmap()
}

// SentByAddr is where a response goes when the Via asks for no rport (RFC 3261
// §18.2.2): the source address, with the port of sent-by.
func SentByAddr(v ViaValue, source netip.AddrPort) netip.AddrPort {
	if v.RPort {
		return source
	}
	_, port := v.HostPort()
	if port == 0 {
		port = 5060
	}
	return netip.AddrPortFrom(source.Addr(), port)
}

// HostPort takes sent-by apart: the host without brackets, and the port, 0 when
// there is none. There may be blanks around the colon (RFC 3261 §25.1).
func (v ViaValue) HostPort() (host []byte, port uint16) {
	s := v.SentBy
	if len(s) > 0 && s[0] != '[' && bytes.Count(s, []byte{':'}) > 1 { // an IPv6 address without its brackets
		return s, 0
	}
	end := len(s)
	for i := len(s) - 1; i >= 0 && s[i] != ']'; i-- {
		if s[i] == ':' {
			if n, ok := digits(bytes.TrimSpace(s[i+1:])); ok && n > 0 && n < 65536 {
				port = uint16(n)
			}
			end = i
			break
		}
	}
	if host = bytes.TrimSpace(s[:end]); len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	return host, port
}

// Phrase is the usual reason phrase of a status code.
func Phrase(code int) string {
	if p, ok := phrases[code]; ok {
		return p
	}
	return "Unknown"
}

var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
	200: "OK", 202: "Accepted", 204: "No Notification",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout", 410: "Gone",
	413: "Request Entity Too Large", 414: "Request-URI Too Long", 415: "Unsupported Media Type",
	416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small",
	423: "Interval Too Brief", 429: "Provide Referrer Identity", 480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
	485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event",
	491: "Request Pending", 493: "Undecipherable", 500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway",
	503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}
