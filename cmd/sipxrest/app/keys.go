package app

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/setting"
)

// A key is one setting by its dotted name. The table of keys drives the file,
// the environment and the flags alike, so that none of them knows a key that
// the others do not.
type key struct {
	name string
	list bool // the value may be YAML text, not only plain text
	field
}

// A field is what a key sets.
type field struct {
	at  any // points to it
	set func(v value) error
}

// A value is what a key is to be set to.
type value struct {
	node *yaml.Node
	dir  string // relative paths start here
}

// keys answers every key of the configuration, bound to c.
func (c *Config) keys() []key {
	keys := []key{
		{"domain", false, text(&c.Domain)},
		{"realm", false, text(&c.Realm)},
		{"data-dir", false, path(&c.DataDir)},
		{"sip.listen", true, texts(&c.SIP.Listen)},
		{"sip.outbound-proxy", true, texts(&c.SIP.OutboundProxy)},
		{"sip.external-address", false, text(&c.SIP.ExternalAddress)},
		{"sip.nat", false, truth(&c.SIP.NAT)},
		{"sip.health.interval", false, duration(&c.SIP.Health.Interval)},
		{"sip.health.timeout", false, duration(&c.SIP.Health.Timeout)},
		{"sip.health.user", false, text(&c.SIP.Health.User)},
		{"sip.user-agent", false, text(&c.SIP.UserAgent)},
		{"sip.tls.cert", false, path(&c.SIP.TLS.Cert)},
		{"sip.tls.key", false, path(&c.SIP.TLS.Key)},
		{"sip.tls.ca", false, path(&c.SIP.TLS.CA)},
		{"sip.tls.client-auth", false, text(&c.SIP.TLS.ClientAuth)},
		{"sip.tls.verify", false, truth(&c.SIP.TLS.Verify)},
		{"sip.tls.min-version", false, text(&c.SIP.TLS.MinVersion)},
		{"sip.ws-path", false, text(&c.SIP.WSPath)},
		{"http", true, listeners(&c.HTTP)},
		{"trusted", true, texts(&c.Trusted)},
		{"reverse-proxies", true, texts(&c.ReverseProxies)},
		{"allowed-origins", true, texts(&c.AllowedOrigins)},
		{"http-names", true, texts(&c.HTTPNames)},
		{"allow-pinless", false, truth(&c.AllowPinless)},
		{"users", true, paths(&c.Users)},
		{"policy", false, text(&c.Policy)},
		{"policies", true, policies(&c.Policies)},
		{"policy-users", true, words(&c.PolicyUsers, `{"201": local-only}`)},
		{"dial.country", false, text(&c.Dial.Country)},
		{"dial.international-prefixes", true, texts(&c.Dial.InternationalPrefixes)},
		{"dial.outside-line", true, texts(&c.Dial.OutsideLine)},
		{"dial.extension-digits", false, number(&c.Dial.ExtensionDigits)},
		{"call.timeout", false, duration(&c.Call.Timeout)},
		{"call.result-cache-time", false, duration(&c.Call.ResultCacheTime)},
		{"call.auto-answer", false, text(&c.Call.AutoAnswer)},
		{"call.follow-redirects", false, truth(&c.Call.FollowRedirects)},
		{"refer.hangup-on", false, text(&c.Refer.HangUpOn)},
		{"refer.fallback", false, truth(&c.Refer.Fallback)},
		{"limits.calls", false, number(&c.Limits.Calls)},
		{"limits.records", false, number(&c.Limits.Records)},
		{"limits.record-bytes", false, number(&c.Limits.RecordBytes)},
		{"limits.connections", false, number(&c.Limits.Connections)},
		{"limits.connections-per-address", false, number(&c.Limits.ConnectionsPerAddress)},
		{"limits.calls-per-user", false, number(&c.Limits.CallsPerUser)},
		{"limits.call-rate-per-user", false, number(&c.Limits.CallRatePerUser)},
		{"limits.call-rate", false, number(&c.Limits.CallRate)},
		{"limits.call-rate-per-pair", false, number(&c.Limits.CallRatePerPair)},
		{"limits.sip-rate-per-address", false, number(&c.Limits.SIPRatePerAddress)},
		{"limits.sip-rate", false, number(&c.Limits.SIPRate)},
		{"limits.dialog-rate", false, number(&c.Limits.DialogRate)},
		{"limits.sip-connections-per-address", false, number(&c.Limits.SIPConnectionsPerAddress)},
		{"log.level", false, text(&c.Log.Level)},
		{"log.format", false, text(&c.Log.Format)},
		{"log.calls", false, truth(&c.Log.Calls)},
		{"drain", false, duration(&c.Drain)},
		{"metrics.listen", false, text(&c.Metrics.Listen)},
		{"trace.endpoint", false, text(&c.Trace.Endpoint)},
		{"trace.sample", false, share(&c.Trace.Sample)},
		{"dns.servers", true, texts(&c.DNS.Servers)},
	}
	keys = append(keys, c.Phone.keys()...)
	return append(append(keys, c.Dialout.keys()...), c.Dispatch.keys()...)
}

// variable answers the name of a key in the environment.
func variable(name string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
}

const envPrefix = "SIPXREST_"

// A lineError is a fault at a line of the file other than its key's.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return e.err.Error() }

func scalar(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", errors.New("one value is expected here, not a list or a section")
	}
	return n.Value, nil
}

func text(p *string) field {
	return field{p, func(v value) error {
		s, err := scalar(v.node)
		if err == nil {
			*p = s
		}
		return err
	}}
}

// path reads a file name; a relative one starts at the configuration's folder.
func path(p *string) field {
	return field{p, func(v value) error {
		s, err := scalar(v.node)
		if err == nil {
			*p = from(v.dir, s)
		}
		return err
	}}
}

func from(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// texts reads a list; a single value is a list of one.
func texts(p *[]string) field {
	return field{p, func(v value) error {
		items := []*yaml.Node{v.node}
		if v.node.Kind == yaml.SequenceNode {
			items = v.node.Content
		}
		list := make([]string, 0, len(items))
		for _, item := range items {
			s, err := scalar(setting.Follow(item))
			if err != nil {
				return &lineError{item.Line, errors.New("a list of plain values is expected here, such as [a, b]")}
			}
			list = append(list, s)
		}
		*p = list
		return nil
	}}
}

func paths(p *[]string) field {
	return field{p, func(v value) error {
		if err := texts(p).set(v); err != nil {
			return err
		}
		for i, name := range *p {
			(*p)[i] = from(v.dir, name)
		}
		return nil
	}}
}

func truth(p *bool) field {
	return field{p, func(v value) error {
		switch s, _ := scalar(v.node); s {
		case "true":
			*p = true
		case "false":
			*p = false
		default:
			return fmt.Errorf("%q is neither true nor false", s)
		}
		return nil
	}}
}

func number(p *int) field {
	return field{p, func(v value) error {
		s, err := scalar(v.node)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		*p = n
		return nil
	}}
}

func share(p *float64) field {
	return field{p, func(v value) error {
		s, err := scalar(v.node)
		if err != nil {
			return err
		}
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n >= 0 && n <= 1) {
			return fmt.Errorf("%q is not a share: write a number from 0 to 1, such as 0.1 for a tenth", s)
		}
		*p = n
		return nil
	}}
}

func duration(p *time.Duration) field {
	return field{p, func(v value) error {
		s, err := scalar(v.node)
		if err != nil {
			return err
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			if _, e := strconv.ParseFloat(s, 64); e == nil {
				return fmt.Errorf("%s needs a unit: write %ss for seconds, or %sm for minutes", s, s, s)
			}
			return fmt.Errorf("%q is not a time: write 30s, 3m or 1h", s)
		}
		*p = d
		return nil
	}}
}

// listeners reads the items of "http".
func listeners(p *[]HTTPListener) field {
	return field{p, func(v value) error {
		if v.node.Kind != yaml.SequenceNode {
			return errors.New(`a list is expected here, such as [{listen: ":6667", auth: pin}]`)
		}
		list := make([]HTTPListener, 0, len(v.node.Content))
		for _, item := range v.node.Content {
			item = setting.Follow(item)
			if item.Kind != yaml.MappingNode {
				return &lineError{item.Line, errors.New(`write the listener as {listen: ":6667", auth: pin}`)}
			}
			l, err := oneListener(item, v.dir)
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
	w := walk{dir: dir, keys: []key{
		{"listen", false, text(&l.Listen)},
		{"auth", false, text(&l.Auth)},
		{"tls.cert", false, path(&t.Cert)},
		{"tls.key", false, path(&t.Key)},
		{"tls.min-version", false, text(&t.MinVersion)},
	}}
	w.section = func(name string, n *yaml.Node) error {
		if n.Kind != yaml.MappingNode {
			return errors.New("write tls: {} for a self-signed certificate, tls: {cert: FILE, key: FILE} for your own, or leave tls out for plain HTTP")
		}
		l.TLS = &t
		return nil
	}
	w.mapping("", n)
	if len(w.errs) > 0 {
		return l, w.errs[0]
	}
	if l.Auth == "" {
		l.Auth = "pin"
		if l.TLS != nil {
			l.Auth = "trusted-or-pin"
		}
	}
	return l, nil
}
