package wire

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// NameAddr takes a From, To, Contact, Route or Refer-To value apart: the URI
// without its angle brackets, and the header parameters that follow it (RFC
// 3261 §20.10: without brackets, parameters belong to the header field). uri
// is nil when there is none.
func NameAddr(v []byte) (uri, params []byte) {
	i := 0
	for i < len(v) && v[i] != '<' && v[i] != '"' && v[i] != ';' && v[i] != ',' {
		i++
	}
	if i < len(v) && v[i] == '"' { // quoted display name
		for i++; i < len(v) && v[i] != '"'; i++ {
			if v[i] == '\\' {
				i++
			}
		}
		if i >= len(v) {
			return nil, nil
		}
		i++
		for i < len(v) && (v[i] == ' ' || v[i] == '\t') {
			i++
		}
		if i == len(v) || v[i] != '<' {
			return nil, nil
		}
	}
	if i < len(v) && v[i] == '<' {
		n := bytes.IndexByte(v[i:], '>')
		if n < 0 {
			return nil, nil
		}
		uri = bytes.TrimSpace(v[i+1 : i+n])
		params = v[i+n+1:]
	} else {
		uri = bytes.TrimSpace(v[:i])
		params = v[i:]
	}
	if bytes.IndexByte(uri, ':') < 0 || !oneWord(uri) {
		return nil, nil
	}
	return uri, params
}

// ContactURI is the URI of a Contact value as its sender means it: a phone
// whose 2xx has none that can be read is hung up. Where NameAddr cannot read
// it, what stands between angle brackets counts, whatever the display name is,
// and blanks in the user are escaped. It is nil when there is none.
func ContactURI(v []byte) []byte {
	if uri, _ := NameAddr(v); uri != nil {
		return uri
	}
	uri := v
	if i := bytes.IndexByte(v, '<'); i >= 0 {
		n := bytes.IndexByte(v[i:], '>')
		if n < 0 {
			return nil
		}
		uri = v[i+1 : i+n]
	} else if i := bytes.IndexByte(v, ';'); i >= 0 {
		uri = v[:i]
	}
	uri = bytes.TrimSpace(uri)
	if at := bytes.LastIndexByte(uri, '@'); at > 0 {
		uri = append(bytes.ReplaceAll(uri[:at], []byte{' '}, []byte("%20")), uri[at:]...)
	}
	if !ReadableURI(uri) || !oneWord(uri) {
		return nil
	}
	return uri
}

// ReadableURI reports whether a URI is one of SIP that ParseURI can read, but for
// further @ in its user, which some phones do not escape.
func ReadableURI(uri []byte) bool {
	_, ok := ParseURI(uri)
	if at := bytes.LastIndexByte(uri, '@'); !ok && at > 0 {
		_, ok = ParseURI(append(bytes.ReplaceAll(uri[:at], []byte{'@'}, []byte("%40")), uri[at:]...))
	}
	return ok
}

// oneWord reports whether a URI holds nothing that would end it where it is
// written next: in a request line, in angle brackets or in quotes.
func oneWord(uri []byte) bool {
	for _, c := range uri {
		if ends[c] {
			return false
		}
	}
	return true
}

// ends holds the characters that end a URI.
var ends = func() (t [256]bool) {
	for c := range ' ' + 1 {
		t[c] = true
	}
	t['<'], t['>'], t['"'], t[0x7f] = true, true, true, true
	return t
}()

// Param is the value of a ;name=value parameter in a parameter list, without
// quotes; ok tells a parameter without a value from none. The list ends at a
// comma, where the next element of the header field begins.
func Param(params []byte, name string) (value []byte, ok bool) {
	for {
		k, v, rest := nextParam(params)
		if rest == nil {
			return nil, false
		}
		params = rest
		// Blanks around a name can only make it longer.
		if len(k) < len(name) || !isParam(k, name) {
			continue
		}
		return paramValue(v), true
	}
}

// nextParam cuts the first parameter off a list. rest is nil when there is none.
func nextParam(params []byte) (name, value, rest []byte) {
	if len(params) == 0 || params[0] != ';' { // the first is preceded by blanks at most
		i := bytes.IndexByte(params, ';')
		if i < 0 || params[0] == ',' {
			return nil, nil, nil
		}
		params = params[i:]
	}
	params = params[1:]
	end := paramEnd(params)
	name, rest = params[:end], params[end:]
	if i := bytes.IndexByte(name, '='); i >= 0 {
		name, value = name[:i], name[i+1:]
	}
	return name, value, rest
}

// isParam compares the name of a parameter, around which there may be blanks.
func isParam(k []byte, name string) bool {
	if len(k) != len(name) {
		k = bytes.TrimSpace(k)
	}
	return equalFold(k, name)
}

// paramValue is a parameter's value without blanks and quotes around it.
func paramValue(v []byte) []byte {
	v = bytes.TrimSpace(v)
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	return v
}

// paramEnd finds the ; or , that ends a parameter, outside of quotes.
func paramEnd(p []byte) int {
	// Most have neither quotes nor another after them.
	i := 0
	for i < len(p) && !paramStop[p[i]] {
		i++
	}
	if i == len(p) || p[i] != '"' {
		return i
	}
	quoted := false
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ';' || c == ','):
			return i
		}
	}
	return len(p)
}

// paramStop holds the characters that paramEnd looks at.
var paramStop = [256]bool{';': true, ',': true, '"': true}

// Tag is the tag of a From or To value, nil when it has none.
func Tag(v []byte) []byte {
	_, params := NameAddr(v)
	t, _ := Param(params, "tag")
	return t
}

// Split calls yield with each comma-separated element of a value, outside of
// quotes and angle brackets (RFC 3261 §7.3.1).
func Split(v []byte, yield func([]byte) bool) {
	quoted, angle, from := false, false, 0
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && !angle:
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == ',' && !angle:
			if !yield(bytes.TrimSpace(v[from:i])) {
				return
			}
			from = i + 1
		}
	}
	if s := bytes.TrimSpace(v[from:]); len(s) > 0 {
		yield(s)
	}
}

// ViaValue is the topmost Via taken apart (RFC 3261 §20.42).
type ViaValue struct {
	Transport []byte // "UDP"
	SentBy    []byte // host[:port]
	Branch    []byte
	RPort     bool // asks for RFC 3581
	params    []byte
}

// Param is the value of a parameter, nil when it has none.
func (v ViaValue) Param(name string) []byte {
	p, _ := Param(v.params, name)
	return p
}

// TopVia is the first Via of the message. ok is false when it is malformed.
func (m *Message) TopVia() (v ViaValue, ok bool) { return m.via, m.viaOK }

func (m *Message) topVia() (v ViaValue, ok bool) {
	s := m.Get(Via)
	if i := elementEnd(s); i < len(s) {
		s = s[:i]
	}
	if !balanced(s) {
		return v, false
	}
	rest, found := s, true
	if len(s) > 8 && string(s[:8]) == "SIP/2.0/" { // as nearly everybody writes it
		rest = s[8:]
	} else if rest, found = cutProtocol(s); !found {
		return v, false
	}
	for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
		rest = rest[1:]
	}
	i := indexBlank(rest)
	if i <= 0 {
		return v, false
	}
	v.Transport = rest[:i]
	rest = rest[i:]
	if j := bytes.IndexByte(rest, ';'); j >= 0 {
		v.params = rest[j:]
		rest = rest[:j]
	}
	v.SentBy = bytes.TrimSpace(rest)
	if len(v.SentBy) == 0 || !isToken(v.Transport) {
		return v, false
	}
	var branch, rport bool // the first of each counts
	for k, value, rest := nextParam(v.params); rest != nil; k, value, rest = nextParam(rest) {
		switch {
		case len(k) < len("rport"):
		case !branch && isParam(k, "branch"):
			branch, v.Branch = true, paramValue(value)
		case !rport && isParam(k, "rport"):
			rport, v.RPort = true, len(paramValue(value)) == 0
		}
	}
	return v, true
}

// cutProtocol takes the protocol and its version off a Via.
func cutProtocol(s []byte) (rest []byte, ok bool) {
	proto, rest, found := bytes.Cut(s, []byte{'/'})
	if !found || !equalFold(bytes.TrimSpace(proto), "SIP") {
		return nil, false
	}
	ver, rest, found := bytes.Cut(rest, []byte{'/'})
	// A later version is told by 505, which needs the Via.
	return rest, found && isToken(bytes.TrimSpace(ver))
}

// elementEnd finds the comma that ends an element of a list, outside of quotes.
func elementEnd(s []byte) int {
	if bytes.IndexByte(s, '"') < 0 {
		if i := bytes.IndexByte(s, ','); i >= 0 {
			return i
		}
		return len(s)
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return i
		}
	}
	return len(s)
}

// oneElement reports whether s is not a list, and whether its quotes end.
func oneElement(s []byte) bool {
	if bytes.IndexByte(s, '"') < 0 {
		return bytes.IndexByte(s, ',') < 0
	}
	return elementEnd(s) == len(s) && balanced(s)
}

// balanced reports whether every quoted string ends: what is appended to one
// that does not would become part of it.
func balanced(s []byte) bool {
	if bytes.IndexByte(s, '"') < 0 {
		return true
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		if quoted && s[i] == '\\' {
			i++
		} else if s[i] == '"' {
			quoted = !quoted
		}
	}
	return !quoted
}

// URI is what routing needs of a SIP URI.
type URI struct {
	Scheme, User, Host string // lower-case scheme; Host without brackets
	Port               int    // 0 when absent
	Transport          string // lower case; "" when absent
	MAddr              string
	Loose              bool // ;lr
}

// ParseURI reads a sip, sips or tel URI as far as routing needs it. ok is
// false when there is no host to send to.
func ParseURI(s []byte) (u URI, ok bool) {
	scheme, rest, found := strings.Cut(string(s), ":")
	if !found {
		return u, false
	}
	u.Scheme = strings.ToLower(scheme)
	if u.Scheme != "sip" && u.Scheme != "sips" {
		return u, false
	}
	if i := strings.IndexByte(rest, '@'); i >= 0 {
		u.User, rest = rest[:i], rest[i+1:]
	}
	if i := strings.IndexByte(rest, '?'); i >= 0 {
		rest = rest[:i]
	}
	host, params, _ := strings.Cut(rest, ";")
	if params != "" {
		p := []byte(";" + params)
		t, _ := Param(p, "transport")
		u.Transport = lowerASCII(t)
		ma, _ := Param(p, "maddr")
		u.MAddr = string(ma)
		_, u.Loose = Param(p, "lr")
	}
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 {
			return u, false
		}
		u.Host = host[1:end]
		host = host[end+1:]
		if host != "" && host[0] != ':' {
			return u, false
		}
		a, err := netip.ParseAddr(u.Host)
		if err != nil { // RFC 5118 §4.10: what the grammar of RFC 3261 makes of an address that ends as IPv4
			u.Host = strings.Replace(u.Host, ":::", "::", 1)
			a, err = netip.ParseAddr(u.Host)
		}
		if err != nil || !a.Is6() {
			return u, false
		}
	} else if i := strings.IndexByte(host, ':'); i >= 0 {
		u.Host, host = host[:i], host[i:]
	} else {
		u.Host, host = host, ""
	}
	if host != "" {
		p, err := strconv.ParseUint(host[1:], 10, 16)
		if err != nil || p == 0 {
			return u, false
		}
		u.Port = int(p)
	}
	for i := 0; i < len(u.Host); i++ {
		if c := u.Host[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("<>\"/?#@,\\", c) >= 0 {
			return u, false
		}
	}
	return u, u.Host != ""
}

// lowerASCII is a token in lower case. Unlike strings.ToLower it makes nothing
// longer of bytes that are no UTF-8.
func lowerASCII(b []byte) string {
	upper := func(c byte) bool { return c >= 'A' && c <= 'Z' }
	if !slices.ContainsFunc(b, upper) {
		return string(b)
	}
	b = bytes.Clone(b)
	for i, c := range b {
		if upper(c) {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
