package config

import (
	"strings"
	"testing"
)

func TestAMetricsAddressIsChecked(t *testing.T) {
	for at, want := range map[string]string{
		"9100": "write host:port", ":x": "write host:port", "a b:1": "neither a host name", "127.0.0.1:6667": "already",
	} {
		cfg := Default()
		cfg.Domain, cfg.Users = "sipx.test", []string{"users.yaml"}
		cfg.HTTP = append(cfg.HTTP, HTTPListener{Listen: "127.0.0.1:6667", Auth: "pin"})
		cfg.Metrics.Listen = at
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "metrics.listen: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", at, err)
		}
	}
}
