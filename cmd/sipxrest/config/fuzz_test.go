package config

import (
	"strings"
	"testing"
	"unicode/utf8"

	"sipxrest/cmd/sipxrest/apptest"
)

// FuzzEnviron: a variable sets its key or is refused by name, and what is
// loaded is valid.
func FuzzEnviron(f *testing.F) {
	for _, s := range [][2]string{{"DOMAIN", "sipx.test"}, {"SIP_LISTEN", "[udp:127.0.0.1:5060, {a: b}]"},
		{"HTTP", "[{listen: ':1', tls: {cert: a}}]"},
		{"LIMITS_CALLS", "-1"}, {"DRAIN", "5"}, {"TRUSTED", "&a [*a]"}, {"DOMIAN", "x"}, {"LOG_CALLS", "\x00"}, {"CALL_TIMEOUT", "1e9h"},
		{"DNS_SERVERS", "]"}} {
		f.Add(s[0], s[1])
	}
	base := apptest.Write(f, f.TempDir(), "sipxrest.yaml", "domain: sipx.test\nusers: []\n")
	f.Fuzz(func(t *testing.T, name, value string) {
		if name == "CONFIG" || name == "CONF_DIR" {
			return // files to read
		}
		cfg, err := Load(Source{File: base, Environ: []string{envPrefix + name + "=" + value}})
		if err != nil {
			if s := err.Error(); len(s) > 4000+20*len(name)+20*len(value) || s == "" {
				t.Errorf("%d bytes of error", len(s))
			}
			return
		}
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s=%q is loaded, and then: %v", name, value, err)
		}
		for _, s := range append([]string{cfg.Domain, cfg.Realm, cfg.SIP.UserAgent, cfg.SIP.ExternalAddress}, cfg.SIP.OutboundProxy...) {
			if strings.ContainsAny(s, "\r\n\x00") || !utf8.ValidString(s) {
				t.Errorf("%s=%q: %q goes on the wire", name, value, s)
			}
		}
	})
}
