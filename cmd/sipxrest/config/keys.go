package config

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/setting"
)

// keys answers every key of the configuration, bound to c.
func (c *Config) keys() []setting.Key {
	keys := []setting.Key{
		{Name: "domain", Field: setting.Text(&c.Domain)},
		{Name: "realm", Field: setting.Text(&c.Realm)},
		{Name: "data-dir", Field: setting.Path(&c.DataDir)},
		{Name: "sip.listen", Field: setting.Texts(&c.SIP.Listen)},
		{Name: "sip.outbound-proxy", Field: setting.Texts(&c.SIP.OutboundProxy)},
		{Name: "sip.external-address", Field: setting.Text(&c.SIP.ExternalAddress)},
		{Name: "sip.nat", Field: setting.Truth(&c.SIP.NAT)},
		{Name: "sip.health.interval", Field: setting.Duration(&c.SIP.Health.Interval)},
		{Name: "sip.health.timeout", Field: setting.Duration(&c.SIP.Health.Timeout)},
		{Name: "sip.health.user", Field: setting.Text(&c.SIP.Health.User)},
		{Name: "sip.user-agent", Field: setting.Text(&c.SIP.UserAgent)},
		{Name: "sip.tls.cert", Field: setting.Path(&c.SIP.TLS.Cert)},
		{Name: "sip.tls.key", Field: setting.Path(&c.SIP.TLS.Key)},
		{Name: "sip.tls.ca", Field: setting.Path(&c.SIP.TLS.CA)},
		{Name: "sip.tls.client-auth", Field: setting.Text(&c.SIP.TLS.ClientAuth)},
		{Name: "sip.tls.verify", Field: setting.Truth(&c.SIP.TLS.Verify)},
		{Name: "sip.tls.min-version", Field: setting.Text(&c.SIP.TLS.MinVersion)},
		{Name: "sip.ws-path", Field: setting.Text(&c.SIP.WSPath)},
		{Name: "http", Field: listeners(&c.HTTP)},
		{Name: "trusted", Field: setting.Texts(&c.Trusted)},
		{Name: "reverse-proxies", Field: setting.Texts(&c.ReverseProxies)},
		{Name: "allowed-origins", Field: setting.Texts(&c.AllowedOrigins)},
		{Name: "http-names", Field: setting.Texts(&c.HTTPNames)},
		{Name: "allow-pinless", Field: setting.Truth(&c.AllowPinless)},
		{Name: "users", Field: setting.Paths(&c.Users)},
		{Name: "policy", Field: setting.Text(&c.Policy)},
		{Name: "policies", Field: policies(&c.Policies)},
		{Name: "policy-users", Field: setting.Words(&c.PolicyUsers, `{"201": local-only}`)},
		{Name: "dial.country", Field: setting.Text(&c.Dial.Country)},
		{Name: "dial.international-prefixes", Field: setting.Texts(&c.Dial.InternationalPrefixes)},
		{Name: "dial.outside-line", Field: setting.Texts(&c.Dial.OutsideLine)},
		{Name: "dial.extension-digits", Field: setting.Number(&c.Dial.ExtensionDigits)},
		{Name: "call.timeout", Field: setting.Duration(&c.Call.Timeout)},
		{Name: "call.result-cache-time", Field: setting.Duration(&c.Call.ResultCacheTime)},
		{Name: "call.auto-answer", Field: setting.Text(&c.Call.AutoAnswer)},
		{Name: "call.follow-redirects", Field: setting.Truth(&c.Call.FollowRedirects)},
		{Name: "refer.hangup-on", Field: setting.Text(&c.Refer.HangUpOn)},
		{Name: "refer.fallback", Field: setting.Truth(&c.Refer.Fallback)},
		{Name: "limits.calls", Field: setting.Number(&c.Limits.Calls)},
		{Name: "limits.records", Field: setting.Number(&c.Limits.Records)},
		{Name: "limits.record-bytes", Field: setting.Number(&c.Limits.RecordBytes)},
		{Name: "limits.connections", Field: setting.Number(&c.Limits.Connections)},
		{Name: "limits.connections-per-address", Field: setting.Number(&c.Limits.ConnectionsPerAddress)},
		{Name: "limits.calls-per-user", Field: setting.Number(&c.Limits.CallsPerUser)},
		{Name: "limits.call-rate-per-user", Field: setting.Number(&c.Limits.CallRatePerUser)},
		{Name: "limits.call-rate", Field: setting.Number(&c.Limits.CallRate)},
		{Name: "limits.call-rate-per-pair", Field: setting.Number(&c.Limits.CallRatePerPair)},
		{Name: "limits.sip-rate-per-address", Field: setting.Number(&c.Limits.SIPRatePerAddress)},
		{Name: "limits.sip-rate", Field: setting.Number(&c.Limits.SIPRate)},
		{Name: "limits.dialog-rate", Field: setting.Number(&c.Limits.DialogRate)},
		{Name: "limits.sip-connections-per-address", Field: setting.Number(&c.Limits.SIPConnectionsPerAddress)},
		{Name: "log.level", Field: setting.Text(&c.Log.Level)},
		{Name: "log.format", Field: setting.Text(&c.Log.Format)},
		{Name: "log.calls", Field: setting.Truth(&c.Log.Calls)},
		{Name: "drain", Field: setting.Duration(&c.Drain)},
		{Name: "metrics.listen", Field: setting.Text(&c.Metrics.Listen)},
		{Name: "trace.endpoint", Field: setting.Text(&c.Trace.Endpoint)},
		{Name: "trace.sample", Field: setting.Share(&c.Trace.Sample)},
		{Name: "dns.servers", Field: setting.Texts(&c.DNS.Servers)},
	}
	keys = append(keys, c.Phone.keys()...)
	return append(append(keys, c.Dialout.keys()...), c.Dispatch.keys()...)
}

// variable answers the name of a key in the environment.
func variable(name string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
}

const envPrefix = "SIPXREST_"

// listeners reads the items of "http".
func listeners(p *[]HTTPListener) setting.Field {
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		if v.Node.Kind != yaml.SequenceNode {
			return errors.New(`a list is expected here, such as [{listen: ":6667", auth: pin}]`)
		}
		list := make([]HTTPListener, 0, len(v.Node.Content))
		for _, item := range v.Node.Content {
			item = setting.Follow(item)
			if item.Kind != yaml.MappingNode {
				return &setting.Fault{Line: item.Line, Err: errors.New(`write the listener as {listen: ":6667", auth: pin}`)}
			}
			l, err := oneListener(item, v.Dir)
			if err != nil {
				return err
			}
			list = append(list, l)
		}
		*p = list
		return nil
	}}
}

func oneListener(n *yaml.Node, dir string) (l HTTPListener, err error) {
	var t TLS
	w := setting.Walk{Dir: dir, Keys: []setting.Key{
		{Name: "listen", Field: setting.Text(&l.Listen)},
		{Name: "auth", Field: setting.Text(&l.Auth)},
		{Name: "tls.cert", Field: setting.Path(&t.Cert)},
		{Name: "tls.key", Field: setting.Path(&t.Key)},
		{Name: "tls.min-version", Field: setting.Text(&t.MinVersion)},
	}}
	w.OnSection = func(name string, n *yaml.Node) error {
		if n.Kind != yaml.MappingNode {
			return errors.New("write tls: {} for a self-signed certificate, tls: {cert: FILE, key: FILE} for your own, or leave tls out for plain HTTP")
		}
		l.TLS = &t
		return nil
	}
	w.Mapping("", n)
	if len(w.Errs) > 0 {
		return l, w.Errs[0]
	}
	if l.Auth == "" {
		l.Auth = "pin"
		if l.TLS != nil {
			l.Auth = "trusted-or-pin"
		}
	}
	return l, nil
}
