package config

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sipxrest/cmd/sipxrest/version"
	"sipxrest/dispatch"
	"sipxrest/internal/setting"
	"sipxrest/policy"
)

// Dispatch is the section "dispatch": what becomes of calls that come in.
// Without it they are answered 404.
type Dispatch struct {
	// Rules say who decides; RulesDir is a folder with more of them.
	Rules    []dispatch.Rule
	RulesDir string
	// Trunks are who may send calls without being a user of ours.
	Trunks []dispatch.Trunk
	// DigestAlgorithms are those that callers are challenged by, in this order.
	DigestAlgorithms []string
	// Rooms are SIP URIs by the name of a room, RoomTarget is that of any other,
	// with {room}.
	Rooms      map[string]string
	RoomTarget string
	// Agent is the user of ours whose SIP password answers challenges on the way
	// to rooms and targets.
	Agent string
}

// InUse says whether calls that come in are dispatched.
func (d *Dispatch) InUse() bool { return len(d.Rules) > 0 || d.RulesDir != "" || len(d.Trunks) > 0 }

// keys answers the section's keys.
func (d *Dispatch) keys() []setting.Key {
	return []setting.Key{
		{Name: "dispatch.rules", Field: dispatchRules(&d.Rules)},
		{Name: "dispatch.rules-dir", Field: setting.Path(&d.RulesDir)},
		{Name: "dispatch.trunks", Field: trunks(&d.Trunks)},
		{Name: "dispatch.digest-algorithms", Field: setting.Texts(&d.DigestAlgorithms)},
		{Name: "dispatch.rooms", Field: setting.Words(&d.Rooms, `{lobby: "sip:lobby@conference.example"}`)},
		{Name: "dispatch.room-target", Field: setting.Text(&d.RoomTarget)},
		{Name: "dispatch.agent", Field: setting.Text(&d.Agent)},
	}
}

// dispatchRules reads the items of "dispatch.rules".
func dispatchRules(p *[]dispatch.Rule) setting.Field {
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		rules, err := dispatch.ReadRules(v.Node, "", v.Dir)
		if all := Flatten(err); err != nil && len(all) > 0 {
			var fault *dispatch.Fault
			if errors.As(all[0], &fault) {
				return &setting.Fault{Line: fault.Line, Err: fault.Err}
			}
			return all[0]
		}
		*p = rules
		return nil
	}}
}

// trunks reads the items of "dispatch.trunks".
func trunks(p *[]dispatch.Trunk) setting.Field {
	const shape = "{name: carrier, sources: [192.0.2.7]}"
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		if v.Node.Kind != yaml.SequenceNode {
			return errors.New("a list is expected here, such as [" + shape + "]")
		}
		list := make([]dispatch.Trunk, 0, len(v.Node.Content))
		for _, item := range v.Node.Content {
			var t dispatch.Trunk
			err := setting.Item(item, "write the trunk as "+shape, []setting.Key{{Name: "name", Field: setting.Text(&t.Name)}, {Name: "sources", Field: setting.Texts(&t.Sources)},
				{Name: "from-hosts", Field: setting.Texts(&t.FromHosts)}, {Name: "username", Field: setting.Text(&t.Username)}, {Name: "password", Field: setting.Text(&t.Credentials.Password)},
				{Name: "max-calls", Field: setting.Number(&t.MaxCalls)}})
			if err != nil {
				return err
			}
			if t.Credentials.Password != "" {
				t.Credentials.Username = t.Username
			}
			list = append(list, t)
		}
		*p = list
		return nil
	}}
}

// DispatchConfig is the section as its package wants it, without what only a
// running service has.
func (c *Config) DispatchConfig() dispatch.Config {
	d := &c.Dispatch
	cfg := dispatch.Config{
		Rules: slices.Clone(d.Rules), RulesDir: d.RulesDir, Trunks: d.Trunks, Algorithms: d.DigestAlgorithms, Rooms: d.Rooms, RoomTarget: d.RoomTarget, Domain: c.Domain,
		Region: strings.ToUpper(c.Dial.Country), ExtensionDigits: c.Dial.ExtensionDigits, Agent: d.Agent,
		UserAgent: "sipxrest/" + version.Current().Version, Resolver: webResolver(c.DNS.Servers),
		HasUsers: c.Phone.HasGateway(),
	}
	if cfg.ExtensionDigits == 0 {
		cfg.ExtensionDigits = 5
	}
	where, _ := c.cutOrigin("dispatch.rules")
	for i := range cfg.Rules {
		if cfg.Rules[i].File == "" {
			cfg.Rules[i].File = where
		}
	}
	return cfg
}

// cutOrigin is the file, or whatever else, in which a key was set.
func (c *Config) cutOrigin(key string) (file string, ok bool) {
	o := c.origin[key]
	if i := strings.LastIndexByte(o, ':'); i > 0 && strings.Trim(o[i+1:], "0123456789") == "" {
		return o[:i], true
	}
	if o == "" {
		return key, false
	}
	return o, true
}

// webResolver looks webhooks up at dns.servers; nil where the system does.
func webResolver(servers []string) *net.Resolver {
	if len(servers) == 0 {
		return nil
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
		for _, s := range servers {
			if a, e := netip.ParseAddr(s); e == nil {
				s = netip.AddrPortFrom(a, 53).String()
			}
			if conn, err = (&net.Dialer{}).DialContext(ctx, network, s); err == nil {
				return conn, nil
			}
		}
		return nil, err
	}}
}

// dispatch checks the section.
func (v *checks) dispatch() {
	if !v.c.Dispatch.InUse() {
		return
	}
	cfg := v.c.DispatchConfig()
	if book, err := policy.New(v.c.PolicyConfig(nil)); err == nil {
		cfg.CheckPolicy = book.Exists
	}
	if _, err := dispatch.Check(cfg); err != nil {
		for _, e := range Flatten(err) {
			var fault *dispatch.KeyFault
			if errors.As(e, &fault) {
				v.check("dispatch."+fault.Key, fault.Err)
				continue
			}
			v.errs = append(v.errs, e) // it says where
		}
	}
}

// NeedsPeers says whether the addresses of the domain's proxies are asked for.
func (c *Config) NeedsPeers() bool {
	return c.TrustsDomain() || c.Dispatch.DomainTrunk()
}

// DomainTrunk says whether the domain's proxies are a trunk's sources.
func (d *Dispatch) DomainTrunk() bool {
	return slices.ContainsFunc(d.Trunks, func(t dispatch.Trunk) bool { return slices.Contains(t.Sources, WordDomain) })
}
