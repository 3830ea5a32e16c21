package resolve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// flight is one look-up that any number of callers wait for.
type flight struct {
	done    chan struct{} // closed once answer is set
	answer  *answer
	started time.Time // by the system's clock, as timers run by it
}

// pending is a look-up begun: known at once, or in flight, or both if the
// known answer has expired.
type pending struct {
	known  *answer
	flight *flight
}

func (p pending) settled() bool {
	if p.flight == nil {
		return true
	}
	select {
	case <-p.flight.done:
		return true
	default:
		return false
	}
}

// ask begins to look k up unless the cache knows it. It never waits, so
// several questions are on the wire at a time.
func (r *Resolver) ask(k key) pending {
	now := r.now()
	known := r.cache.get(k, now)
	if known != nil {
		if now.Before(known.expires) {
			return pending{known: known}
		}
		if !now.Before(known.stale) {
			known = nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[k]
	if f != nil {
		return pending{known, f}
	}
	if r.closed || len(r.flights) >= maxFlights {
		if known != nil {
			return pending{known: known}
		}
		err := ErrBusy
		if r.closed {
			err = ErrClosed
		}
		return pending{known: &answer{err: fmt.Errorf("%v: %w", k, err), failed: true}}
	}
	// A flight may have ended since the cache was asked.
	if a := r.cache.get(k, now); a != nil && now.Before(a.expires) {
		return pending{known: a}
	}
	f = &flight{done: make(chan struct{}), started: time.Now()}
	r.flights[k] = f
	r.running.Add(1) // under mu, so never after Close began to wait
	go r.fly(k, f)
	return pending{known, f}
}

// wait returns the answer for p. It has an err if there are no records, or if
// ctx ended first. An expired answer serves if the servers take longer than
// one query may.
func (r *Resolver) wait(ctx context.Context, k key, p pending) *answer {
	if p.flight == nil {
		return p.known
	}
	if p.settled() {
		return p.flight.answer // even if ctx has ended too
	}
	var late <-chan time.Time
	if p.known != nil {
		t := time.NewTimer(r.timeout - time.Since(p.flight.started))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-p.flight.done:
		return p.flight.answer
	case <-late:
		return p.known
	case <-ctx.Done():
		if p.known != nil {
			return p.known
		}
		return &answer{err: fmt.Errorf("%v: %w", k, context.Cause(ctx)), failed: true}
	}
}

// fly looks k up, keeps the answer and wakes all who wait. It is joined by
// Close.
func (r *Resolver) fly(k key, f *flight) {
	defer r.running.Done()
	a := r.fetch(k)
	now := r.now()
	r.stats.lookups.Add(1)
	if a.failed {
		r.stats.failures.Add(1)
		// RFC 8767: better an old answer than none.
		if old := r.cache.get(k, now); old != nil && !old.failed && now.Before(old.stale) {
			a = &answer{records: old.records, err: old.err, stale: old.stale}
		}
		a.expires = now.Add(retryAfter)
		if a.stale.IsZero() {
			a.stale = a.expires
		}
	}
	r.cache.put(k, a, now)
	f.answer = a
	r.mu.Lock()
	delete(r.flights, k)
	r.mu.Unlock()
	close(f.done)
}

// fetch asks the servers for k and for what it is an alias of.
func (r *Resolver) fetch(k key) (a *answer) {
	ctx, cancel := context.WithTimeout(r.ctx, maxLookup)
	defer cancel()
	// The parser reads what strangers send: a fault of it costs one look-up.
	defer func() {
		if fault := recover(); fault != nil {
			a = &answer{err: fmt.Errorf("%v: %w: unreadable", k, ErrNoAnswer), failed: true}
		}
	}()
	qname, ttl := k.qname(), ^uint32(0)
	for range maxAliases {
		m, server, err := r.query(ctx, qname, k.qtype)
		if err != nil {
			return &answer{err: fmt.Errorf("%v: %w", k, err), failed: true}
		}
		rec, t, next := interpret(qname, k.qtype, m)
		ttl = min(ttl, t)
		if next != "" {
			qname = next
			continue
		}
		a := &answer{records: rec}
		keep := r.maxTTL
		if rec.empty() || rec.off {
			why := ErrNoRecord
			if rec.off {
				why = ErrOff
			} else if m.Rcode == dns.RcodeNameError {
				why = ErrNoName
			}
			a.err = fmt.Errorf("%v: %w (asked %s)", k, why, server)
		}
		if rec.empty() {
			keep = min(keep, r.negTTL)
		}
		// TTL 0 too is kept a moment: one call asks for the same name several times.
		keep = max(r.minTTL, min(keep, time.Duration(ttl)*time.Second))
		a.expires = r.now().Add(keep)
		a.stale = a.expires.Add(r.staleFor)
		return a
	}
	return &answer{err: fmt.Errorf("%v: %w: more than %d aliases", k, ErrNoAnswer, maxAliases), failed: true}
}

// query asks one server after the other until one answers yes or no.
func (r *Resolver) query(ctx context.Context, qname string, qtype uint16) (*dns.Msg, string, error) {
	servers := r.servers()
	var last error
	for range r.attempts {
		for _, server := range r.down.order(servers, r.now()) {
			m, err := r.queryServer(ctx, qname, qtype, server)
			if ctx.Err() != nil && err != nil {
				return nil, "", fmt.Errorf("%w: %w (asked %s)", ErrNoAnswer, context.Cause(ctx), server)
			}
			if err == nil {
				r.down.answered(server)
				return m, server, nil
			}
			last = err
			if _, refused := errors.AsType[rcodeError](err); !refused {
				r.down.failed(server, r.now().Add(r.avoided.keep))
			}
		}
	}
	return nil, "", fmt.Errorf("%w: %w (asked %s)", ErrNoAnswer, last, strings.Join(servers, ", "))
}

// rcodeError is an answer that says nothing about the name: ask another server.
type rcodeError string

func (e rcodeError) Error() string { return string(e) }

// queryServer sends one question to one server.
func (r *Resolver) queryServer(ctx context.Context, qname string, qtype uint16, server string) (*dns.Msg, error) {
	select {
	case r.sockets <- struct{}{}:
		defer func() { <-r.sockets }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for _, edns := range [...]bool{true, false} {
		q := new(dns.Msg)
		q.SetQuestion(qname, qtype) // with a random id
		if edns {
			q.SetEdns0(udpSize, false)
		}
		m, err := r.exchangeOnce(ctx, q, server)
		if err != nil {
			return nil, err
		}
		switch m.Rcode {
		case dns.RcodeNameError:
			return m, nil
		case dns.RcodeSuccess:
			if len(m.Answer) == 0 && !m.Authoritative && !m.RecursionAvailable && !hasSOA(m) {
				return nil, rcodeError("the server neither knows the name nor asks others")
			}
			return m, nil
		case dns.RcodeFormatError, dns.RcodeNotImplemented:
			if edns {
				continue // a server older than EDNS0 (RFC 6891 §7)
			}
		}
		return nil, rcodeError("the server answered " + rcodeText(m.Rcode))
	}
	return nil, rcodeError("the server understands no question")
}

func (r *Resolver) exchangeOnce(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, fmt.Errorf("nothing came within %v", r.timeout))
	defer cancel()
	m, err := r.exchange(ctx, q, server)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if m == nil || !answers(m, q) {
		return nil, errors.New("the answer is to another question")
	}
	return m, nil
}

func hasSOA(m *dns.Msg) bool {
	for _, rr := range m.Ns {
		if _, ok := rr.(*dns.SOA); ok {
			return true
		}
	}
	return false
}

func rcodeText(rcode int) string {
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("code %d", rcode)
}
