package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
)

// MaxMessage is the largest message taken from any transport, in bytes: what
// fits a UDP datagram.
const MaxMessage = 65535

// maxFields bounds the header fields of one message. RFC 4475's longest
// message has 33; a flood of fields is an attack.
const maxFields = 256

// maxIndexed fields are found by name without a search.
const maxIndexed = 255

// A Message is one SIP request or response. It owns its bytes and is read-only
// once parsed; the slices it gives out point into it.
type Message struct {
	raw    []byte
	fields []field
	method string // requests, and the CSeq method of responses
	code   int    // 0 for a request
	seq    uint32 // of CSeq
	// One bit per name: fields that there are, and fields that there are twice.
	seen, again uint64
	// offsets into raw
	uri, reason span
	body        span
	first       [numHeaders]uint8 // the first field of each name, counted from 1
	usual       [16]field         // room for the fields of most messages
	// What nearly every reader asks for, taken apart once.
	via            ViaValue
	viaOK          bool
	fromTag, toTag []byte
	fromOK, toOK   bool // one address each
}

type span struct{ from, to uint16 }

type field struct {
	id    Header
	name  span
	value span
}

func (m *Message) cut(s span) []byte { return m.raw[s.from:s.to:s.to] }

// A ParseError says why a message is not one, with the status that RFC 3261
// gives for it where the sender can be told at all.
type ParseError struct {
	Code   int // 400, 505, 513
	Reason string
}

func (e *ParseError) Error() string { return e.Reason }

func bad(format string, a ...any) *ParseError {
	return &ParseError{400, fmt.Sprintf(format, a...)}
}

// ErrKeepAlive reports a datagram that holds only CR, LF or NUL bytes, which
// peers send to keep a NAT binding open (RFC 5626 §3.5.1).
var ErrKeepAlive = errors.New("keep-alive")

// Parse reads one datagram. It keeps data, which the caller must not use
// again: folded lines are unfolded in place.
//
// On a *ParseError the message is returned too, as far as it could be read. So
// a request with Via, From, To, Call-ID and CSeq can still be refused.
func Parse(data []byte) (*Message, error) {
	data = bytes.TrimLeft(data, "\r\n\x00")
	if len(data) == 0 {
		return nil, ErrKeepAlive
	}
	m := &Message{raw: data}
	if len(data) > MaxMessage {
		m.raw = data[:MaxMessage]
		return m, &ParseError{513, "Message Too Large"}
	}
	m.fields = m.usual[:0]
	end, err := m.index()
	m.via, m.viaOK = m.topVia()
	m.fromTag, m.fromOK = oneAddress(m.Get(From))
	m.toTag, m.toOK = oneAddress(m.Get(To))
	if err != nil {
		return m, err
	}
	m.body = span{uint16(end), uint16(len(data))}
	return m, m.check()
}

// index finds the start line and the header fields, and returns where the body
// begins. It goes on after the first error, which it returns: the response to a
// malformed request needs the fields that follow.
func (m *Message) index() (end int, err error) {
	end, ends, err := m.scan()
	// Where every line of the header ends with CR LF, and that is where each CR
	// is, no field holds one.
	if err != nil || bytes.Count(m.raw[:end], []byte{'\r'}) != ends {
		if e := m.dropReturns(); err == nil {
			err = e
		}
	}
	return end, err
}

// scan is index, but for CRs within fields; ends is how many of the header's
// lines end with CR LF.
func (m *Message) scan() (end, ends int, err error) {
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	line, next := m.line(0)
	if next < 0 {
		return 0, 0, bad("No End Of Start Line")
	}
	ends = next - int(line.to) - 1
	keep(m.startLine(line))
	for {
		at := next
		line, next = m.line(at)
		if next < 0 {
			keep(bad("No Empty Line After The Header"))
			return 0, 0, err
		}
		ends += next - int(line.to) - 1
		if line.from == line.to {
			return next, ends, err
		}
		// A line that starts with blanks continues the field (RFC 3261 §7.3.1).
		for next < len(m.raw) && (m.raw[next] == ' ' || m.raw[next] == '\t') {
			ends -= next - int(line.to) - 1
			for i := int(line.to); i < next; i++ {
				m.raw[i] = ' '
			}
			var more span
			more, next = m.line(next)
			if next < 0 {
				keep(bad("No Empty Line After The Header"))
				return 0, 0, err
			}
			line.to = more.to
			ends += next - int(line.to) - 1
		}
		if len(m.fields) == maxFields {
			keep(bad("Too Many Header Fields"))
			return 0, 0, err
		}
		keep(m.field(line))
	}
}

// dropReturns drops the fields that hold a CR: some read it as the end of a
// line, and whoever got the value from us would see a field that we do not.
func (m *Message) dropReturns() (err error) {
	all := m.fields
	m.fields, m.first, m.seen, m.again = all[:0], [numHeaders]uint8{}, 0, 0
	for _, f := range all {
		if bytes.IndexByte(m.cut(f.value), '\r') < 0 {
			m.add(f)
		} else if m.needs(m.cut(f.name)) {
			err = bad("Carriage Return In A Header Field")
		}
	}
	return err
}

const (
	// neededResponse are the fields without which, or with another one of which, a
	// response would mean something else; neededRequest those of a request.
	neededResponse = required | 1<<Contact | 1<<RecordRoute | 1<<ContentLength | 1<<ContentType | 1<<Require | 1<<RSeq
	neededRequest  = neededResponse | 1<<MaxForwards | 1<<Route | 1<<RAck | 1<<Event | 1<<ReferTo | 1<<Replaces
)

// needs reports whether a field of that name, which cannot be read, makes the
// message unreadable. Any other is left out, as if it were not there (RFC 3261
// §8.2.2): a response that is thrown away for it leaves a phone off-hook.
func (m *Message) needs(name []byte) bool {
	needed := uint64(neededRequest)
	if m.code != 0 {
		needed = neededResponse
	}
	const content = "Content-"
	return needed&(1<<lookup(name)) != 0 || len(name) > len(content) && equalFold(name[:len(content)], content)
}

// line returns the line at offset i without its end, and where the next one
// starts: -1 when no line end follows. A lone LF ends a line too.
func (m *Message) line(i int) (span, int) {
	n := bytes.IndexByte(m.raw[i:], '\n')
	if n < 0 {
		return span{}, -1
	}
	end := i + n
	if n > 0 && m.raw[end-1] == '\r' {
		return span{uint16(i), uint16(end - 1)}, end + 1
	}
	return span{uint16(i), uint16(end)}, end + 1
}

var version = []byte("SIP/2.0")

func (m *Message) startLine(l span) error {
	s := m.cut(l)
	first := bytes.IndexByte(s, ' ')
	if first <= 0 {
		return bad("Malformed Start Line")
	}
	if head := s[:first]; len(head) > 4 && bytes.EqualFold(head[:4], version[:4]) {
		return m.statusLine(l, head)
	}
	var ok bool
	if m.method, ok = methodName(s[:first]); !ok {
		return bad("Malformed Method")
	}
	last := bytes.LastIndexByte(s, ' ')
	if last <= first+1 {
		return bad("Malformed Request Line")
	}
	m.uri = span{l.from + uint16(first) + 1, l.from + uint16(last)}
	switch v := s[last+1:]; {
	case bytes.EqualFold(v, version):
	case len(v) > 4 && bytes.EqualFold(v[:4], version[:4]):
		return &ParseError{505, "Version Not Supported"}
	default:
		return bad("Malformed Request Line")
	}
	if !oneWord(m.cut(m.uri)) {
		return bad("Malformed Request-URI")
	}
	return nil
}

func (m *Message) statusLine(l span, head []byte) error {
	s := m.cut(l)[len(head)+1:]
	code, ok := digits(s[:min(3, len(s))])
	if !ok || len(s) < 3 || code < 100 || code > 699 || (len(s) > 3 && s[3] != ' ') {
		return bad("Malformed Status Line")
	}
	if !bytes.EqualFold(head, version) {
		return &ParseError{505, "Version Not Supported"}
	}
	if bytes.IndexByte(s, '\r') >= 0 {
		return bad("Malformed Status Line")
	}
	m.code = int(code)
	from := l.from + uint16(len(head)) + 1 + 3
	m.reason = span{min(from+1, l.to), l.to}
	return nil
}

// field enters one line of the header. One that cannot be read is left out,
// unless the message needs it: what the line begins with is its name then.
func (m *Message) field(l span) error {
	s := m.cut(l)
	n := 0
	for n < len(s) && tokenChar[s[n]] {
		n++
	}
	colon := n
	for colon < len(s) && (s[colon] == ' ' || s[colon] == '\t') {
		colon++
	}
	switch {
	case colon < len(s) && s[colon] == ':' && n > 0:
	case n == 0 || colon == n && n < len(s) || !m.needs(s[:n]):
		return nil
	case bytes.IndexByte(s, ':') < 0:
		return bad("Header Field Without Colon")
	default:
		return bad("Malformed Header Field Name")
	}
	from, to := int(l.from)+colon+1, int(l.to)
	for from < to && (m.raw[from] == ' ' || m.raw[from] == '\t') {
		from++
	}
	for to > from && (m.raw[to-1] == ' ' || m.raw[to-1] == '\t' || m.raw[to-1] == '\r') {
		to--
	}
	m.add(field{
		id:    lookup(s[:n]),
		name:  span{l.from, l.from + uint16(n)},
		value: span{uint16(from), uint16(to)},
	})
	return nil
}

func (m *Message) add(f field) {
	if bit := uint64(1) << f.id; m.seen&bit == 0 {
		m.seen |= bit
		if len(m.fields) < maxIndexed {
			m.first[f.id] = uint8(len(m.fields) + 1)
		}
	} else {
		m.again |= bit
	}
	m.fields = append(m.fields, f)
}

const (
	required   = 1<<Via | 1<<From | 1<<To | 1<<CallID | 1<<CSeq
	singletons = 1<<From | 1<<To | 1<<CallID | 1<<CSeq | 1<<MaxForwards | 1<<ContentLength | 1<<ContentType
	inRequests = 1 << MaxForwards // singletons that say nothing in a response
)

// check looks for what RFC 3261 §8.1.1 makes mandatory and for what makes the
// message ambiguous, and cuts the body to Content-Length.
func (m *Message) check() error {
	if missing := required &^ m.seen; missing != 0 {
		return bad("Missing %s", Header(bits.TrailingZeros64(missing)))
	}
	twice := singletons & m.again
	if m.code != 0 {
		twice &^= inRequests
	}
	if twice != 0 {
		return bad("Repeated %s", Header(bits.TrailingZeros64(twice)))
	}
	if len(m.Get(CallID)) == 0 {
		return bad("Empty Call-ID")
	}
	if err := m.checkCSeq(); err != nil {
		return err
	}
	if !m.fromOK {
		return bad("Malformed From")
	}
	if !m.toOK {
		return bad("Malformed To")
	}
	if v := m.Get(MaxForwards); v != nil && m.code == 0 {
		if n, ok := digits(v); !ok || n > 255 {
			return bad("Malformed Max-Forwards")
		}
	}
	if v := m.Get(ContentLength); v != nil {
		n, ok := digits(v)
		if !ok {
			return bad("Malformed Content-Length")
		}
		if n > uint64(m.body.to-m.body.from) {
			return bad("Content-Length Exceeds The Message")
		}
		m.body.to = m.body.from + uint16(n) // RFC 3261 §18.3: what follows is discarded
	}
	return nil
}

// oneAddress is the tag of a From or To value. ok reports whether the value is
// one address with parameters and nothing else: what follows could hide a tag.
// A tag that says nothing is none of RFC 3261 §25.1, and would hide the one
// that a response adds.
func oneAddress(v []byte) (tag []byte, ok bool) {
	uri, params := NameAddr(v)
	tag, tagged := Param(params, "tag")
	if tagged && len(tag) == 0 {
		return nil, false
	}
	for len(params) > 0 && (params[0] == ' ' || params[0] == '\t') {
		params = params[1:]
	}
	return tag, len(uri) > 0 && (len(params) == 0 || params[0] == ';') && oneElement(params)
}

func (m *Message) checkCSeq() error {
	v := m.Get(CSeq)
	i := indexBlank(v)
	if i < 0 {
		return bad("Malformed CSeq")
	}
	word := v[i+1:]
	for len(word) > 0 && (word[0] == ' ' || word[0] == '\t') {
		word = word[1:]
	}
	method, ok := methodName(word)
	if !ok {
		return bad("Malformed CSeq")
	}
	n, ok := digits(v[:i])
	if !ok || n >= 1<<31 {
		return bad("Malformed CSeq")
	}
	m.seq = uint32(n)
	if m.code != 0 {
		m.method = method
	} else if method != m.method {
		return bad("CSeq Method Is Not The Request's")
	}
	return nil
}

func indexBlank(s []byte) int {
	for i, c := range s {
		if c == ' ' || c == '\t' {
			return i
		}
	}
	return -1
}

// digits reads an unsigned decimal number of at most ten digits.
func digits(s []byte) (uint64, bool) {
	if len(s) == 0 || len(s) > 10 {
		return 0, false
	}
	var n uint64
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// IsRequest reports whether m is a request.
func (m *Message) IsRequest() bool { return m.code == 0 }

// Method is the request's method, or the CSeq method of a response.
func (m *Message) Method() string { return m.method }

// URI is the Request-URI.
func (m *Message) URI() []byte { return m.cut(m.uri) }

// Code is the status code, 0 for a request.
func (m *Message) Code() int { return m.code }

// Reason is the reason phrase of a response.
func (m *Message) Reason() []byte { return m.cut(m.reason) }

// StatusLine is the first line of a response as it was received.
func (m *Message) StatusLine() string {
	return "SIP/2.0 " + strconv.Itoa(m.code) + " " + string(m.Reason())
}

// Body is what follows the header, cut to Content-Length.
func (m *Message) Body() []byte { return m.cut(m.body) }

// Raw is the whole message.
func (m *Message) Raw() []byte { return m.raw }

// Seq is the CSeq number, 0 in a message that cannot be read.
func (m *Message) Seq() uint32 { return m.seq }

// Get is the value of the first field of that name, nil when there is none.
func (m *Message) Get(h Header) []byte {
	if i := m.first[h]; i > 0 {
		return m.cut(m.fields[i-1].value)
	}
	if len(m.fields) > maxIndexed {
		for i := range m.fields[maxIndexed:] {
			if f := &m.fields[maxIndexed+i]; f.id == h {
				return m.cut(f.value)
			}
		}
	}
	return nil
}

// FromTag is the tag of From, nil when it has none.
func (m *Message) FromTag() []byte { return m.fromTag }

// ToTag is the tag of To, nil when it has none.
func (m *Message) ToTag() []byte { return m.toTag }

// All calls yield with the value of each field of that name, in order. Values
// joined by commas are not split: see Split.
func (m *Message) All(h Header) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for i := range m.fields {
			if m.fields[i].id == h && !yield(m.cut(m.fields[i].value)) {
				return
			}
		}
	}
}

// Fields calls yield with each field's name and value as they were received.
func (m *Message) Fields(yield func(id Header, name, value []byte) bool) {
	for i := range m.fields {
		if f := m.fields[i]; !yield(f.id, m.cut(f.name), m.cut(f.value)) {
			return
		}
	}
}
