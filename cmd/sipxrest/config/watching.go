package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"sipxrest/internal/trace"
)

// watching checks the sections "metrics" and "trace".
func (v *checks) watching() {
	if at := v.c.Metrics.Listen; at != "" {
		host, port, err := net.SplitHostPort(at)
		n, portErr := strconv.Atoi(port)
		switch {
		case err != nil || portErr != nil || n < 0 || n > 65535:
			v.check("metrics.listen", fmt.Errorf("%q: write host:port, such as 127.0.0.1:9100, or leave it empty for none", at))
		case host != "" && !IsHost(host):
			v.check("metrics.listen", fmt.Errorf("%q is neither a host name nor an address", host))
		case n != 0 && slices.ContainsFunc(v.c.HTTP, func(l HTTPListener) bool { return SameSocket(l.Listen, at) }):
			v.check("metrics.listen", fmt.Errorf("%s is a listener of http already: choose another port", at))
		}
	}
	if v.c.Trace.Messages != "off" && v.c.Trace.Messages != "" && !v.c.API.Enabled {
		v.check("trace.messages", errors.New("they are shown by the API only: set api.enabled, or leave this out"))
	}
	if v.c.Trace.Endpoint != "" {
		_, err := trace.ParseEndpoint(v.c.Trace.Endpoint)
		v.check("trace.endpoint", err)
	}
}
