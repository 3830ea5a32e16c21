package config

import (
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/media"
)

func TestPhoneFaultsNameTheirKey(t *testing.T) {
	for key, set := range map[string]func(*Config){
		"phone.listen":   func(c *Config) { c.Phone.Listen = "x" },
		"phone.tls.cert": func(c *Config) { c.Phone.Listen, c.Phone.TLS.Cert = ":1", "x" },
		"phone.plain-http": func(c *Config) {
			c.Phone.Listen, c.Phone.TLS, c.Phone.PlainHTTP = ":1", TLS{Cert: "x", Key: "y"}, true
		},
		"phone.tls.min-version":          func(c *Config) { c.Phone.Listen, c.Phone.TLS.MinVersion = ":1", "3" },
		"phone.enabled":                  func(c *Config) { c.Phone.Enabled, c.HTTP = true, c.HTTP[1:] },
		"phone.origins":                  func(c *Config) { c.Phone.Origins = []string{"https://a.test/"} },
		"phone.min-level":                func(c *Config) { c.Phone.MinLevel = "king" },
		"phone.ring-time":                func(c *Config) { c.Phone.RingTime = 0 },
		"phone.max-call-time":            func(c *Config) { c.Phone.MaxCall = time.Second },
		"phone.limits.sockets":           func(c *Config) { c.Phone.Limits.Sockets = 0 },
		"phone.limits.sockets-per-user":  func(c *Config) { c.Phone.Limits.SocketsPerUser = -1 },
		"phone.limits.calls":             func(c *Config) { c.Phone.Limits.Calls = 0 },
		"phone.limits.requests-per-user": func(c *Config) { c.Phone.Limits.RequestsPerUser = 0 },
		"phone.sip.enabled":              func(c *Config) { c.Phone.SIP.Enabled = true },
		"phone.sip.domain":               func(c *Config) { c.Phone.SIP.Domain = "a b" },
		"phone.sip.address":              func(c *Config) { c.Phone.SIP.Address = "phones.example" },
		"phone.sip.rtp-ports":            func(c *Config) { c.Phone.SIP.RTPPorts = "20000" },
		"phone.sip.media-allow":          func(c *Config) { c.Phone.SIP.MediaAllow = []string{"x"} },
		"phone.sip.srtp":                 func(c *Config) { c.Phone.SIP.SRTP = "sometimes" },
		"phone.sip.media-nat":            func(c *Config) { c.Phone.SIP.MediaNAT = []string{"192.0.2.0/33"} },
	} {
		c := Default()
		c.Domain, c.Users = "pbx.example", []string{"users.yaml"}
		set(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestWordsOfSRTP(t *testing.T) {
	for word, want := range map[string]media.Security{"": media.SRTPOffered, "offered": media.SRTPOffered, "required": media.SRTPRequired,
		"off": media.SRTPOff} {
		file := "domain: pbx.example\nusers: [users.yaml]\nphone: {enabled: true, plain-http: true, sip: {address: 192.0.2.1"
		if word != "" {
			file += ", srtp: " + word // "off" is no truth value
		}
		c, err := Load(Source{File: apptest.Write(t, t.TempDir(), "sipxrest.yaml", file+"}}\n")})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Phone.SIP.Security(); err != nil || got != want {
			t.Errorf("%q: %v, %v", word, got, err)
		}
	}
}
