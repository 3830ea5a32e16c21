package capture

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Message is a SIP message that was sent or received.
type Message struct {
	At        time.Time
	Out       bool   // we sent it
	Transport string // "udp", "tcp", "tls", "ws", "wss"
	Local     string // host:port of ours, as the socket is known
	Remote    netip.AddrPort
	CallID    string // its SIP Call-ID
	Text      []byte // with secrets cut out, at most maxText bytes
	Cut       bool   // there was more
}

// Mode says which calls' messages are kept.
type Mode string

// The modes.
const (
	Off    Mode = "off"
	Failed Mode = "failed" // of calls that came to nothing, and of those in progress
	All    Mode = "all"
)

const (
	// maxText bounds the bytes that are kept of one message.
	maxText = 8 << 10
	// maxMessages bounds the messages that are kept of one dialog.
	maxMessages = 300
	// overhead is what a message takes beside its text, or a dialog without any, about, in
	// bytes.
	overhead = 200
	// strangers is the part of the bytes that messages may take which are of no call yet.
	strangers = 8
)

// Ring keeps messages by SIP Call-ID, until they take more than a number of bytes. Those
// of no call wait apart: a flood of strangers does not displace what is known of calls. It
// is safe for concurrent use.
type Ring struct {
	mode  Mode
	bytes int

	mu      sync.Mutex
	dialogs map[string]*dialog  // by SIP Call-ID
	calls   map[string][]string // SIP Call-IDs by call
	known   queue               // dialogs of calls
	unknown queue               // the others
}

// queue has dialogs in the order in which they came, and places of others that were
// taken out of its middle.
type queue struct {
	list  []*dialog
	live  int // without those
	bytes int
}

type dialog struct {
	callID  string
	call    string // "" as long as it is of none
	list    []Message
	bytes   int
	dropped int
	gone    bool
}

// New makes a Ring that keeps so many bytes, about.
func New(mode Mode, bytes int) *Ring {
	return &Ring{mode: mode, bytes: bytes, dialogs: map[string]*dialog{}, calls: map[string][]string{}}
}

// Add keeps a message; it copies what it needs of data.
func (r *Ring) Add(m Message, data []byte) {
	id := callID(data)
	if id == "" {
		return
	}
	m.CallID = id
	if m.Cut = len(data) > maxText; m.Cut {
		data = data[:maxText]
	}
	m.Text = cutSecrets(data)
	size := len(m.Text) + overhead
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.dialogs[id]
	if d == nil {
		d = &dialog{callID: id, bytes: overhead}
		r.dialogs[id] = d
		r.enter(&r.unknown, d)
	}
	if len(d.list) >= maxMessages {
		d.dropped++
		return
	}
	d.list, d.bytes = append(d.list, m), d.bytes+size
	r.queueOf(d).bytes += size
	r.trim()
}

// enter puts a dialog behind the others of a queue. Places that are empty are cleared
// away once they are more than half: to look for each as it is left would cost more.
func (r *Ring) enter(q *queue, d *dialog) {
	if len(q.list) > 2*q.live+64 {
		q.list = slices.DeleteFunc(q.list, func(o *dialog) bool { return o.gone || r.queueOf(o) != q })
	}
	q.list, q.live, q.bytes = append(q.list, d), q.live+1, q.bytes+d.bytes
}

// leave takes a dialog out of its queue, but for its place.
func (r *Ring) leave(d *dialog) {
	q := r.queueOf(d)
	q.live--
	q.bytes -= d.bytes
}

func (r *Ring) queueOf(d *dialog) *queue {
	if d.call == "" {
		return &r.unknown
	}
	return &r.known
}

// trim lets go of what came first.
func (r *Ring) trim() {
	for r.unknown.bytes > r.bytes/strangers {
		r.dropFirst(&r.unknown)
	}
	for r.known.bytes > r.bytes-r.bytes/strangers {
		r.dropFirst(&r.known)
	}
}

func (r *Ring) dropFirst(q *queue) {
	d := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	if !d.gone && r.queueOf(d) == q { // else it was taken out before
		r.drop(d)
	}
}

// drop forgets a dialog.
func (r *Ring) drop(d *dialog) {
	r.leave(d)
	d.gone = true
	if r.dialogs[d.callID] == d {
		delete(r.dialogs, d.callID)
	}
	if d.call != "" {
		r.calls[d.call] = slices.DeleteFunc(r.calls[d.call], func(id string) bool { return id == d.callID })
		if len(r.calls[d.call]) == 0 {
			delete(r.calls, d.call)
		}
	}
	d.list = nil
}

// Claim says that a SIP Call-ID is one of a call.
func (r *Ring) Claim(call, callID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.dialogs[callID]
	switch {
	case d == nil:
		d = &dialog{callID: callID, bytes: overhead}
		r.dialogs[callID] = d
	case d.call != "": // of a phone that went over to another call: it stays where it began
		return
	default:
		r.leave(d)
	}
	d.call = call
	r.calls[call] = append(r.calls[call], callID)
	r.enter(&r.known, d)
	r.trim()
}

// Ended says that a call is over, and whether it failed.
func (r *Ring) Ended(call string, failed bool) {
	if failed || r.mode == All {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range slices.Clone(r.calls[call]) {
		if d := r.dialogs[id]; d != nil {
			r.drop(d)
		}
	}
}

// Of returns the messages of a call in the order of their times, and how many more there
// were that are not kept.
func (r *Ring) Of(call string) (list []Message, dropped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.calls[call] {
		d := r.dialogs[id]
		list = append(list, d.list...)
		dropped += d.dropped
	}
	slices.SortStableFunc(list, func(a, b Message) int { return a.At.Compare(b.At) })
	return list, dropped
}

// Mode says which calls' messages are kept.
func (r *Ring) Mode() Mode { return r.mode }

// Kept is what the Ring holds: calls, and bytes.
func (r *Ring) Kept() (calls, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls), r.known.bytes + r.unknown.bytes
}

// compact are the short names of header fields (RFC 3261 §7.3.3) that are asked for.
var compact = map[string]string{"Call-ID": "i", "Content-Type": "c"}

// Field is the value of the first header field of a name in a message, "" without one.
func Field(message []byte, name string) string {
	for line := range lines(message) {
		if len(line) == 0 {
			break
		}
		field, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		if n := string(bytes.TrimRight(field, " \t")); strings.EqualFold(n, name) || compact[name] != "" && strings.EqualFold(n, compact[name]) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// callID is the Call-ID of a message (RFC 3261 §20.8).
func callID(message []byte) string { return Field(message, "Call-ID") }

// lines yields the lines of the header, without their ends, and "" where it ends.
func lines(data []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			i := bytes.IndexByte(data, '\n')
			line := data
			if i >= 0 {
				line, data = data[:i], data[i+1:]
			} else {
				data = nil
			}
			line = bytes.TrimSuffix(line, []byte("\r"))
			if !yield(line) || len(line) == 0 {
				return
			}
		}
	}
}
