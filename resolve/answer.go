package resolve

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// key names one record set. The SRV labels are apart so that asking the cache
// builds no string.
type key struct {
	service string // "" or one of services, like "_sip._udp."
	name    string // lower case, without the final dot
	qtype   uint16
}

func (k key) qname() string { return k.service + k.name + "." }

// String returns the question as in `SRV _sip._udp.pbx.example`.
func (k key) String() string { return dns.TypeToString[k.qtype] + " " + k.service + k.name }

// answer is what is known about one key. Only used changes after it was made.
type answer struct {
	records
	err     error     // why there are no records
	failed  bool      // err says nothing about the domain: no server answered
	expires time.Time // ask again from here on
	stale   time.Time // do not use from here on, even if no server answers
	used    atomic.Int64
}

// records is one record set as far as it can be used. At most one slice is set.
type records struct {
	naptr []naptr      // by order and preference
	srv   []srv        // by priority; in one priority weight 0 first
	addrs []netip.Addr // unmapped, in the server's order
	off   bool         // there are SRV records and none can be used, "." above all
}

func (rec *records) empty() bool {
	return len(rec.naptr) == 0 && len(rec.srv) == 0 && len(rec.addrs) == 0 && !rec.off
}

// naptr is a NAPTR record that leads to SRV records of a SIP transport.
type naptr struct {
	order, preference uint16
	transport         string
	srv               key
}

type srv struct {
	priority, weight, port uint16
	host                   string     // as parseHost returns it
	addr                   netip.Addr // set if host is an address, which RFC 2782 forbids and people write
}

// interpret reads the records of one question out of a server's answer: only
// records of the name asked for or of an alias of it that the answer itself
// contains (CNAME). next is the alias to ask for if the answer ends with one.
// ttl is the shortest of all records used, or for an answer without records
// the negative TTL (RFC 2308 §5), 0 if the server gave none.
func interpret(qname string, qtype uint16, m *dns.Msg) (rec records, ttl uint32, next string) {
	owner := qname
	ttl = ^uint32(0)
	for range maxAliases {
		alias, found := "", false
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, owner) {
				continue
			}
			switch rr := rr.(type) {
			case *dns.CNAME:
				if alias == "" && qtype != dns.TypeCNAME && rr.Target != "" {
					alias, ttl = rr.Target, min(ttl, h.Ttl)
				}
				continue
			default:
				if h.Rrtype != qtype {
					continue
				}
			}
			found, ttl = true, min(ttl, h.Ttl)
			rec.add(rr)
		}
		if found {
			rec.bound()
			rec.off = qtype == dns.TypeSRV && len(rec.srv) == 0
			return rec, ttl, ""
		}
		if alias == "" {
			break
		}
		owner = alias
	}
	negative := uint32(0)
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			negative = min(soa.Hdr.Ttl, soa.Minttl)
			break
		}
	}
	if owner != qname && m.Rcode == dns.RcodeSuccess && negative == 0 {
		return rec, ttl, owner
	}
	return rec, min(ttl, negative), ""
}

// add takes rr over if it can be used.
func (rec *records) add(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.A:
		if a, ok := netip.AddrFromSlice(rr.A); ok {
			rec.addAddr(a.Unmap())
		}
	case *dns.AAAA:
		if a, ok := netip.AddrFromSlice(rr.AAAA); ok {
			rec.addAddr(a.Unmap())
		}
	case *dns.SRV:
		host, addr, err := parseHost(strings.TrimSuffix(rr.Target, "."))
		if err == nil && rr.Port != 0 {
			rec.srv = append(rec.srv, srv{rr.Priority, rr.Weight, rr.Port, host, addr})
		}
	case *dns.NAPTR:
		// RFC 3263 §4.1: flag "s", no regular expression.
		if !strings.EqualFold(rr.Flags, "s") || rr.Regexp != "" {
			return
		}
		for _, s := range services {
			if !strings.EqualFold(rr.Service, s.naptr) {
				continue
			}
			name, addr, err := parseHost(rr.Replacement)
			if err == nil && !addr.IsValid() {
				rec.naptr = append(rec.naptr, naptr{rr.Order, rr.Preference, s.transport, srvKey(name)})
			}
			return
		}
	}
}

func (rec *records) addAddr(a netip.Addr) {
	if usable(a) && len(rec.addrs) < maxAddrs && !slices.Contains(rec.addrs, a) {
		rec.addrs = append(rec.addrs, a)
	}
}

// srvKey splits the SRV labels off, so that the set is cached once whether a
// NAPTR record or we made its name.
func srvKey(name string) key {
	for _, s := range services {
		if rest, ok := strings.CutPrefix(name, s.service); ok && rest != "" {
			return key{s.service, rest, dns.TypeSRV}
		}
	}
	return key{"", name, dns.TypeSRV}
}

// bound sorts and cuts off what goes too far.
func (rec *records) bound() {
	slices.SortStableFunc(rec.naptr, func(a, b naptr) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.preference, b.preference))
	})
	slices.SortStableFunc(rec.srv, func(a, b srv) int {
		if c := cmp.Compare(a.priority, b.priority); c != 0 || a.weight != 0 && b.weight != 0 {
			return c
		}
		return cmp.Compare(min(a.weight, 1), min(b.weight, 1)) // RFC 2782: weight 0 first
	})
	rec.naptr = slices.Clip(rec.naptr[:min(len(rec.naptr), maxNAPTR)])
	rec.srv = slices.Clip(rec.srv[:min(len(rec.srv), maxSRV)])
}

// appendWeighted appends src to dst in the order to try (RFC 2782): by
// priority, within one priority at random in proportion to the weights.
// intn(n) returns a number from 0 to n-1.
func appendWeighted(dst, src []srv, intn func(n int) int) []srv {
	start := len(dst)
	dst = append(dst, src...)
	for rest := dst[start:]; len(rest) > 1; {
		same, sum := 0, 0
		for same < len(rest) && rest[same].priority == rest[0].priority {
			sum += int(rest[same].weight)
			same++
		}
		for group := rest[:same]; len(group) > 1; group = group[1:] {
			n, pick := intn(sum+1), 0
			for n -= int(group[0].weight); n > 0; n -= int(group[pick].weight) {
				pick++
			}
			chosen := group[pick]
			copy(group[1:pick+1], group[:pick]) // the others stay in order, weight 0 first
			group[0] = chosen
			sum -= int(chosen.weight)
		}
		rest = rest[same:]
	}
	return dst
}
