package sipflow

import (
	"sync"
	"time"

	"sipxrest/sipflow/wire"
)

const (
	maxPhones   = 10_000         // that are remembered
	phoneMemoir = 24 * time.Hour // for this long
	maxAgent    = 64             // bytes of a User-Agent that tell it apart
)

// phoneKey tells phones apart: one user may have several.
type phoneKey struct{ aor, userAgent string }

// phoneMemory remembers the phones that refused a REFER, so that the next call
// takes at once the way that works for them. It is bounded: the oldest go first.
type phoneMemory struct {
	mu     sync.Mutex
	known  map[phoneKey]time.Time // when it refused
	oldest []phoneKey             // in the order of their entry
}

func (p *phoneMemory) refusesRefer(k phoneKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.known[k]
	return ok && time.Since(at) < phoneMemoir
}

func (p *phoneMemory) remember(k phoneKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[phoneKey]time.Time{}
	}
	if _, ok := p.known[k]; !ok {
		if len(p.oldest) == maxPhones {
			delete(p.known, p.oldest[0])
			p.oldest = p.oldest[1:]
		}
		p.oldest = append(p.oldest, k)
	}
	p.known[k] = time.Now()
}

// agentOf is what a phone calls itself (RFC 3261 §20.35, §20.41).
func agentOf(m *wire.Message) string {
	v := m.Get(wire.UserAgent)
	if v == nil {
		v = m.Get(wire.Server)
	}
	return string(v[:min(len(v), maxAgent)])
}

// cannotRefer reports whether a failed REFER leaves the phone free to be bridged:
// it was refused, whatever the reason, or got no response. Not after 401 and
// 407, which another request would meet as well, nor 481, which means that
// there is no call any more. After a 2xx the phone may have called the other
// one already.
func cannotRefer(err error) bool {
	switch refusedBy(err, "REFER") {
	case 0, 401, 407, 481:
		return false
	}
	return true
}

// neverRefers reports whether a phone that refused a REFER in this way is likely
// to refuse the next. Other codes tell of the moment only.
func neverRefers(err error) bool {
	switch refusedBy(err, "REFER") {
	case 403, 405, 406, 408, 420, 501, 603:
		return true
	}
	return false
}
