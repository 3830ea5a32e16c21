package limit

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// FirstLine is how long after the first refusal a line says how many there
	// were, and OtherLines how long after that the next one does.
	FirstLine  = time.Second
	OtherLines = 10 * time.Second
	// maxNamed is how many of the refused a line names.
	maxNamed = 3
)

// A Log says how many were refused, a line for a while and not one for each.
// Refused returns at once, whatever the log's writer does. The zero value does
// nothing; a Log must not be copied after its first use.
type Log[From comparable] struct {
	// Say writes the line: how many were refused since the last one, and some
	// of them.
	Say func(refused uint64, some []From)

	mu      sync.Mutex
	refused uint64
	some    []From
	timer   *time.Timer // until the next line; nil when there is none to come
	stopped bool
}

// Refused notes that one was refused.
func (l *Log[From]) Refused(from From) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	if len(l.some) < maxNamed && !slices.Contains(l.some, from) {
		l.some = append(l.some, from)
	}
	if l.timer == nil && !l.stopped && l.Say != nil {
		l.timer = time.AfterFunc(FirstLine, l.line)
	}
}

// line writes a line if there is something to say, and looks again later. Lines
// follow each other: the next one is not waited for before this one is written.
func (l *Log[From]) line() {
	l.mu.Lock()
	refused, some := l.refused, l.some
	l.refused, l.some = 0, nil
	if refused == 0 || l.stopped {
		l.timer = nil
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	l.Say(refused, some)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopped {
		l.timer = time.AfterFunc(OtherLines, l.line)
	}
}

// Stop ends the lines.
func (l *Log[From]) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

// A Page is a page that a browser had call, for a Log: its origin, or the name by
// which it called, and where the browser is.
type Page struct {
	Name string
	Peer netip.Addr
}

// maxPage bounds what a line tells of a name, in bytes.
const maxPage = 80

// RefusedPage is a Page; its name may be whatever a stranger wrote.
func RefusedPage(name string, peer netip.Addr) Page {
	if len(name) > maxPage {
		name = name[:maxPage] + "…"
	}
	return Page{name, peer.Unmap()}
}

func (p Page) String() string { return fmt.Sprintf("%q by %v", p.Name, p.Peer) }
