package callcontroller

import (
	"strings"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"sipxrest/schema"
	"sipxrest/sipflow"
)

const (
	firstLines = 50  // lines of a call's beginning that are kept
	lastLines  = 150 // lines of its end that are kept
	maxText    = 2048
	// firstBytes and lastBytes bound their texts. Those of a usual call take a few
	// hundred bytes; a phone that sends long ones must not fill the memory.
	firstBytes = 4 << 10
	lastBytes  = 12 << 10
	// poorBytes is in place of lastBytes while all records together have more
	// than Config.MaxRecordBytes.
	poorBytes = 1 << 10
	// lineBytes is what a line takes beside its text.
	lineBytes = int(unsafe.Sizeof(line{}))
)

// record is what a GET tells of one call. Its call's goroutine writes it,
// GETs read it. Finished records stay for minutes by the ten thousands, so it
// holds no maps and shares its strings.
type record struct {
	c      *Controller
	id     string // of the call in the stream of events; empty without
	seq    uint64 // differs for each record of the process
	method string // methodRefer or methodInvite: decides the document's form
	keep   time.Duration

	mu      sync.Mutex
	version uint32 // changes whenever the document does
	ended   bool
	lost    bool     // no key leads to it any more
	run     *running // nil once it is of no use
	first   uint8    // lines of the beginning, once they are complete; 0 before
	names   uint8    // keys that lead to it; guarded by records.mu
	dropped uint32   // lines that are not kept
	begun   uint16   // bytes of the texts of the first lines
	late    uint16   // bytes of those after them
	lines   []line
	packed  string // the lines of a call that is over, see pack
	count   uint8  // and how many they are
}

// line is a schema.StatusLine in half the space.
type line struct {
	at             int64 // milliseconds since 1970
	callID, method string
	text           string
}

// observe is the record's sipflow.Spec.Observe.
func (r *record) observe(e *sipflow.Event) {
	switch e.Kind {
	case sipflow.Placed:
		r.run = &running{keys: []sipflow.Key{e.Key}}
		r.c.records.take(e.Key, r)
	case sipflow.Progress:
		if r.method == methodRefer { // else nobody can read it
			r.add(e)
		}
	case sipflow.DialogChanged:
		r.dialled(e)
	case sipflow.Moved:
		old, ok := r.moved(e.Key)
		for _, key := range old {
			r.c.records.release(key, r)
		}
		if ok {
			r.c.records.take(e.Key, r)
		}
	case sipflow.Ended:
		keys, listed, dropped := r.end()
		if goesElsewhere(e.Err) {
			r.keep = 0 // where the call is there is its record
		}
		if listed {
			r.c.records.listed(r)
		}
		for _, key := range keys {
			r.c.records.release(key, r)
		}
		if dropped > 0 {
			r.c.log.Info("status lines of the call were dropped", "key", clip(e.Key.String()), "dropped", dropped)
		}
	}
}

// add appends a line. Strings are copied, for the event's may be parts of a
// whole SIP message.
func (r *record) add(e *sipflow.Event) {
	text := trim(e.Text)
	if text == "" {
		return // a NOTIFY without a body
	}
	l := line{at: e.At.UnixMilli(), method: intern(e.Method), text: intern(text)}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost || r.ended {
		return
	}
	r.version++
	if n := len(r.lines); n > 0 && r.lines[n-1].callID == e.CallID {
		l.callID = r.lines[n-1].callID
	} else {
		l.callID = strings.Clone(e.CallID)
	}
	if r.lines == nil {
		r.lines = make([]line, 0, 3) // while it rings; doubled, it holds a usual call
	}
	r.lines = append(r.lines, l)
	size := len(text)
	r.c.records.bytes.Add(int64(size + lineBytes))
	if r.first == 0 {
		if n := len(r.lines); n <= firstLines && int(r.begun)+size <= firstBytes {
			r.begun += uint16(size)
			return
		}
		r.first = uint8(len(r.lines) - 1) // at least one: maxText is less than firstBytes
	}
	r.late += uint16(size)
	most, beside := lastBytes, 0
	if r.c.records.poor() {
		most, beside = poorBytes, lineBytes
	}
	for n := len(r.lines) - int(r.first); n > lastLines || n > 1 && int(r.late)+n*beside > most; n-- {
		r.dropOldest()
	}
}

// dropOldest gives up the first of the last lines.
func (r *record) dropOldest() {
	i := int(r.first)
	size := len(r.lines[i].text)
	copy(r.lines[i:], r.lines[i+1:])
	r.lines[len(r.lines)-1] = line{}
	r.lines = r.lines[:len(r.lines)-1]
	r.late -= uint16(size)
	r.c.records.bytes.Add(-int64(size + lineBytes))
	r.dropped++
}

// trim cuts white space off and the text down to maxText.
func trim(text string) string {
	text = strings.TrimFunc(text, func(r rune) bool { return r <= ' ' })
	if len(text) > maxText {
		cut := maxText
		for cut > maxText-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	return text
}

// end marks the call as over and gives back the memory that was held for
// more. It returns the keys that the call has held, whether dialogs of it are
// still listed, and how many lines were not kept.
func (r *record) end() (keys []sipflow.Key, listed bool, dropped uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.run != nil {
		keys, r.run.keys = r.run.keys, nil
	}
	r.unlist(time.Now())
	if r.packed == "" {
		r.packed, r.count, r.lines = pack(r.lines), uint8(len(r.lines)), nil
	}
	return keys, r.run != nil, r.dropped
}

// appendLines appends the record's lines in wire order to dst and returns the
// version that they are.
func (r *record) appendLines(dst []schema.StatusLine) ([]schema.StatusLine, uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.linesLocked(dst), r.version
}

// linesLocked is appendLines with r.mu held.
func (r *record) linesLocked(dst []schema.StatusLine) []schema.StatusLine {
	dst = unpack(dst, r.packed)
	for i := range r.lines {
		l := &r.lines[i]
		dst = append(dst, schema.StatusLine{At: time.UnixMilli(l.at), CallID: l.callID, Method: l.method, Text: l.text})
	}
	return dst
}

// intern returns a string that does not hold a message in memory: a shared one
// for the texts that nearly every call has, else a copy.
func intern(s string) string {
	if known, ok := usual[s]; ok {
		return known
	}
	return strings.Clone(s)
}

var usual = func() map[string]string {
	m := make(map[string]string)
	for _, s := range []string{
		"INVITE", "NOTIFY", "REFER",
		"SIP/2.0 100 Trying", "SIP/2.0 100 Giving a try", "SIP/2.0 100 trying -- your call is important to us",
		"SIP/2.0 180 Ringing", "SIP/2.0 181 Call Is Being Forwarded", "SIP/2.0 182 Queued", "SIP/2.0 183 Session Progress",
		"SIP/2.0 200 OK", "SIP/2.0 202 Accepted",
		"SIP/2.0 401 Unauthorized", "SIP/2.0 403 Forbidden", "SIP/2.0 404 Not Found", "SIP/2.0 405 Method Not Allowed",
		"SIP/2.0 407 Proxy Authentication Required", "SIP/2.0 408 Request Timeout",
		"SIP/2.0 480 Temporarily Unavailable", "SIP/2.0 480 Temporarily unavailable", "SIP/2.0 481 Call/Transaction Does Not Exist",
		"SIP/2.0 486 Busy Here", "SIP/2.0 487 Request Terminated", "SIP/2.0 488 Not Acceptable Here", "SIP/2.0 491 Request Pending",
		"SIP/2.0 500 Server Internal Error", "SIP/2.0 501 Not Implemented", "SIP/2.0 503 Service Unavailable",
		"SIP/2.0 600 Busy Everywhere", "SIP/2.0 603 Decline",
	} {
		m[s] = s
	}
	return m
}()
