package dispatch

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sipxrest/internal/fault"
	"sipxrest/internal/limit"
)

// trunk is a Trunk that can be compared.
type trunk struct {
	Trunk
	prefixes []netip.Prefix
	domain   bool // the domain's proxies are among its sources
}

func (st *state) addTrunks(trunks []Trunk) error {
	var errs []error
	for i, t := range trunks {
		if err := CheckTrunk(t); err != nil {
			errs = append(errs, &fault.Fault{Key: "dispatch.trunks", Err: err})
			continue
		}
		if slices.ContainsFunc(trunks[:i], func(o Trunk) bool { return o.Name == t.Name }) {
			errs = append(errs, &fault.Fault{Key: "dispatch.trunks", Err: fmt.Errorf("trunk %s is there twice", t.Name)})
		}
		c := trunk{Trunk: t}
		for _, s := range t.Sources {
			if s == wordDomain {
				c.domain = true
			} else if p, err := limit.ParseNetwork(s); err == nil {
				c.prefixes = append(c.prefixes, p)
			}
		}
		st.trunks = append(st.trunks, c)
	}
	return errors.Join(errs...)
}

// trunkOf is the trunk of a call, and whether the caller must prove it: nil if
// it is of none. user is the name that digest has proved. Of the trunks that
// fit, the more specific one wins: a smaller network, then a From host.
func (st *state) trunkOf(source netip.Addr, fromHost, user string) (best *trunk, prove bool) {
	source = source.Unmap().WithZone("")
	score := -1
	for i := range st.trunks {
		t := &st.trunks[i]
		bits := t.within(source, st.cfg.DomainAddrs)
		if bits < 0 {
			continue
		}
		s := bits * 4
		if len(t.FromHosts) > 0 {
			if !slices.ContainsFunc(t.FromHosts, func(h string) bool { return sameHost(h, fromHost) }) {
				continue
			}
			s += 2
		}
		if t.Username != "" {
			if user != "" && user != t.Username {
				continue
			}
			s++
		}
		if s > score {
			best, score, prove = t, s, t.Username != "" && user == ""
		}
	}
	return best, prove
}

// Known reports whether an address is a source of a trunk.
func (d *Dispatcher) Known(a netip.Addr) bool {
	st := d.now.Load()
	a = a.Unmap().WithZone("")
	for i := range st.trunks {
		if st.trunks[i].within(a, st.cfg.DomainAddrs) > 0 {
			return true
		}
	}
	return false
}

// within returns how exactly the sources name an address, from 1 on; 0 where
// there are none, for a digest user may come from anywhere; -1 if they do not.
func (t *trunk) within(a netip.Addr, domain func() []netip.Addr) int {
	if len(t.Sources) == 0 {
		return 0
	}
	best := -1
	for _, p := range t.prefixes {
		if p.Contains(a) {
			best = max(best, p.Bits()+1)
		}
	}
	if t.domain && domain != nil && slices.Contains(domain(), a) {
		best = max(best, a.BitLen()+1)
	}
	return best
}

func sameHost(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
