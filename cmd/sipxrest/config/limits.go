package config

import (
	"fmt"
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
