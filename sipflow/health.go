package sipflow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// HopState is what is known about one server of an outbound proxy.
type HopState struct {
	Proxy   string        // as Config.OutboundProxies has it
	Hop     resolve.Hop   // one of those that it leads to
	Up      bool          // it responded to the last OPTIONS, or to a call since
	Since   time.Time     // when Up became what it is
	Checked time.Time     // when the last OPTIONS went out
	Trip    time.Duration // from an OPTIONS to its response, the last time that there was one
	Failure string        // why it is not up; empty when it is
}

// health is what the checks of the outbound proxies found.
type health struct {
	down  atomic.Int32 // hops that are not up, to read without the lock
	mu    sync.Mutex
	state []HopState // in the order of the configuration; at most 16 for each proxy
}

// Hops tells the state of the outbound proxies' servers, in the order of
// Config.OutboundProxies. It is empty until the first check, and without checks.
func (sw *Switchboard) Hops() []HopState {
	sw.health.mu.Lock()
	defer sw.health.mu.Unlock()
	return slices.Clone(sw.health.state)
}

// last moves the hops that did not respond to the end, in place, and keeps the
// order otherwise. They are still tried when no other is left.
func (h *health) last(hops []resolve.Hop) []resolve.Hop {
	if h.down.Load() == 0 || len(hops) < 2 {
		return hops
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	rank := func(hop resolve.Hop) int {
		for i := range h.state {
			if !h.state[i].Up && h.state[i].Hop == hop {
				return 1
			}
		}
		return 0
	}
	slices.SortStableFunc(hops, func(x, y resolve.Hop) int { return rank(x) - rank(y) })
	return hops
}

// watch checks the outbound proxies until ctx ends.
func (sw *Switchboard) watch(ctx context.Context) {
	every := sw.cfg.HealthInterval
	if every <= 0 || len(sw.proxies) == 0 {
		return
	}
	clock := time.NewTimer(0)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
		sw.faults.Try("the checks of the outbound proxies", func() { sw.sweep(ctx) })
		// Several services that started together must not ask together. It is
		// never later than the interval, which may be there to keep a NAT open.
		clock.Reset(every - time.Duration(rand.Int64N(int64(every)/5+1)))
	}
}

// sweep looks the proxies up anew and checks each of their hops, all at once.
func (sw *Switchboard) sweep(ctx context.Context) {
	before := sw.Hops()
	var now []HopState
	for i, target := range sw.proxies {
		uri := sw.cfg.OutboundProxies[i]
		limited, stop := context.WithTimeout(ctx, sw.cfg.HealthTimeout)
		hops, err := sw.lookUp(limited, target)
		stop()
		if err != nil { // DNS may fail while the servers do not
			sw.log.Debug("sip: outbound proxy not found", "proxy", uri, "error", err)
			for _, s := range before {
				if s.Proxy == uri {
					now = append(now, s)
				}
			}
			continue
		}
		// The order of equal servers is random each time.
		slices.SortFunc(hops, func(a, b resolve.Hop) int { return strings.Compare(a.String(), b.String()) })
		for _, hop := range hops {
			if slices.ContainsFunc(now, func(s HopState) bool { return s.Hop == hop }) {
				continue
			}
			s := HopState{Proxy: uri, Hop: hop, Up: true, Since: time.Now()}
			if k := slices.IndexFunc(before, func(s HopState) bool { return s.Hop == hop }); k >= 0 {
				s = before[k]
				s.Proxy = uri
			}
			now = append(now, s)
		}
	}
	found := make([]error, len(now))
	var all sync.WaitGroup
	for i := range now {
		all.Go(func() {
			found[i] = transport.ErrFault
			sw.faults.Try("the check of an outbound proxy", func() { found[i] = sw.check(ctx, &now[i]) })
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return
	}
	h := &sw.health
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range now {
		for _, s := range h.state { // a call may have had its response meanwhile
			if s.Hop == now[i].Hop {
				now[i].Up, now[i].Since = s.Up, s.Since
			}
		}
		sw.found(&now[i], found[i])
	}
	h.state = now
	h.count()
}

// check asks one hop. An error means that no request should go there first.
func (sw *Switchboard) check(ctx context.Context, s *HopState) error {
	ctx, stop := context.WithTimeout(ctx, sw.cfg.HealthTimeout)
	defer stop()
	s.Checked = time.Now()
	probe := Probe{Method: "OPTIONS"}
	if of := sw.cfg.HealthUser; of != nil {
		probe.As = of()
	}
	found, err := sw.probe(ctx, s.Hop, &probe)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", sw.cfg.HealthTimeout)
		}
		return err
	}
	s.Trip = time.Since(s.Checked)
	sw.learnExternal(found.over, found.res)
	if probe.As.Address != "" && found.Denied != "" {
		sw.healthDenied(&probe, found.Denied)
	}
	if found.Code == 503 {
		return fmt.Errorf("it answers OPTIONS with 503 %s", found.Reason)
	}
	return nil
}

// healthDenied says once a while that the user of the checks is not taken: the
// server is alive, but its log fills.
func (sw *Switchboard) healthDenied(p *Probe, why string) {
	d := &sw.denied
	d.mu.Lock()
	quiet := time.Since(d.health) < deniedHealthEvery && !d.health.IsZero()
	if !quiet {
		d.health = time.Now()
	}
	d.mu.Unlock()
	if !quiet {
		sw.log.Warn("sip: an outbound proxy does not take the user of the health checks: "+why, "user", p.As.Address, "sip-user", p.As.Credentials.Username)
	}
}

// deniedHealthEvery is how often that is told.
const deniedHealthEvery = time.Hour

// found takes a check's result over, and tells of a change once. The health's
// lock is held.
func (sw *Switchboard) found(s *HopState, err error) {
	up := err == nil
	s.Failure = ""
	if !up {
		s.Failure = err.Error()
	}
	if s.Up == up {
		return
	}
	s.Up, s.Since = up, time.Now()
	if up {
		sw.log.Info("sip: outbound proxy answers again", "proxy", s.Proxy, "hop", s.Hop.String())
	} else {
		sw.log.Warn("sip: outbound proxy is down, calls go to it last", "proxy", s.Proxy, "hop", s.Hop.String(), "error", err)
	}
}

// count is called with mu held.
func (h *health) count() {
	down := 0
	for i := range h.state {
		if !h.state[i].Up {
			down++
		}
	}
	h.down.Store(int32(down))
}

// answered notes that a hop that was down has responded to a call.
func (sw *Switchboard) answered(hop resolve.Hop) {
	h := &sw.health
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.state {
		if s := &h.state[i]; s.Hop == hop && !s.Up {
			sw.found(s, nil)
		}
	}
	h.count()
}

// forget ends a transaction whose response is not wanted any more.
func (sw *Switchboard) forget(tx *clientTx) {
	s := sw.shard(tx.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	tx.remove(s)
}

// learnExternal takes over the address under which an outbound proxy saw our OPTIONS
// (RFC 3581 §4). Only the proxies are believed, and only in responses to our
// requests: nobody can guess the branch of the Via.
func (sw *Switchboard) learnExternal(over transport.Link, res *wire.Message) {
	via, ok := res.TopVia()
	if !ok || !sw.transport.Auto {
		return
	}
	addr, err := netip.ParseAddr(strings.Trim(string(via.Param("received")), "[]"))
	if err != nil {
		return
	}
	now, was := sw.transport.SeenAs(over, addr, string(via.Param("rport")))
	if now == was {
		return // known, or no NAT is in between
	}
	sw.log.Info("sip: seen from outside at another address, which Via, Contact and session descriptions say from now on", "address", now, "instead", was)
}
