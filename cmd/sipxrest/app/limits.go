package app

import (
	"net/netip"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow"
)

// sipLimits are the limits that SIP strangers, phones and users meet.
func sipLimits(l *config.Limits) sipflow.Limits {
	return sipflow.Limits{
		CallsPerAgent: l.CallsPerUser, CallRatePerAgent: l.CallRatePerUser, CallRate: l.CallRate, PairRate: l.CallRatePerPair,
		SourceRate: l.SIPRatePerAddress, StrangerRate: l.SIPRate, DialogRate: l.DialogRate,
		StreamsPerSource: l.SIPConnectionsPerAddress,
	}
}

// known returns who is trusted to place calls: networks, and the domain's SIP
// servers where the word "domain" is.
func (p *domainPeers) known(trusted []netip.Prefix) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		if config.Contains(trusted, a) {
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
