package app

import (
	"fmt"
	"net/netip"

	"sipxrest/sipflow"
)

// limits checks the keys of "limits" for which 0 has a meaning, and those that
// depend on others.
func (v *checks) limits() {
	l := &v.c.Limits
	for _, k := range []struct {
		key  string
		n    int
		most int
	}{
		{"limits.connections-per-address", l.ConnectionsPerAddress, 1_000_000},
		{"limits.calls-per-user", l.CallsPerUser, 1_000_000},
		{"limits.call-rate-per-user", l.CallRatePerUser, 1_000_000},
		{"limits.call-rate", l.CallRate, 1_000_000},
		{"limits.call-rate-per-pair", l.CallRatePerPair, 1_000_000},
		{"limits.sip-rate-per-address", l.SIPRatePerAddress, 1_000_000},
		{"limits.sip-rate", l.SIPRate, 1_000_000},
		{"limits.dialog-rate", l.DialogRate, 1_000_000},
		{"limits.sip-connections-per-address", l.SIPConnectionsPerAddress, 4096},
	} {
		if k.n < 0 || k.n > k.most {
			none := "for no limit"
			if k.key == "limits.connections-per-address" {
				none = "for a quarter of limits.connections"
			}
			v.check(k.key, fmt.Errorf("%d is not between 1 and %d: write such a number, or 0 %s", k.n, k.most, none))
		}
	}
	if n := l.RecordBytes; n < 1<<20 || n > 1<<40 {
		v.check("limits.record-bytes", fmt.Errorf("%d is not between %d and %d bytes (1 MiB and 1 TiB)", n, 1<<20, 1<<40))
	}
}

// names checks "http-names".
func (v *checks) names() {
	for _, s := range v.c.HTTPNames {
		if s != "*" && !isHost(s) {
			v.check("http-names", fmt.Errorf("%q is not a host name: write it without scheme, port and path, or * for any name", s))
		}
	}
}

// sipLimits are the limits that SIP strangers, phones and users meet. known
// answers the addresses that are none of strangers, beside the SIP servers.
func sipLimits(l *Limits, known func(netip.Addr) bool) sipflow.Limits {
	return sipflow.Limits{
		CallsPerAgent: l.CallsPerUser, CallRatePerAgent: l.CallRatePerUser, CallRate: l.CallRate, PairRate: l.CallRatePerPair,
		SourceRate: l.SIPRatePerAddress, StrangerRate: l.SIPRate, DialogRate: l.DialogRate,
		StreamsPerSource: l.SIPConnectionsPerAddress, Known: known,
	}
}

// known answers who is trusted to place calls: networks, and the domain's SIP
// servers where the word "domain" is.
func (p *domainPeers) known(trusted []netip.Prefix) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		if contains(trusted, a) {
			return true
		}
		for _, d := range p.addresses() {
			if d == a {
				return true
			}
		}
		return false
	}
}
