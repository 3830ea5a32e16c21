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
	"sipxrest/internal/fault"
	"sipxrest/internal/setting"
	"sipxrest/policy"
	"sipxrest/sipflow"
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
	Audio DispatchAudio
}

// InUse reports whether calls that come in are dispatched.
func (d *Dispatch) InUse() bool { return len(d.Rules) > 0 || d.RulesDir != "" || len(d.Trunks) > 0 }

// rows are the keys of the section.
func (d *Dispatch) rows() []row {
	return append([]row{
		{Name: "dispatch.rules", Set: dispatchRules(&d.Rules), AtOnce: true, After: "dispatch.rules-dir",
			Doc: "who decides on calls that come in, a list; see [dispatch.md](dispatch.md), as for all of `dispatch`",
			About: "The rule that says most of a call is taken: number and trunk, number, trunk,\n" +
				"any, and of those one for the caller before one for all.",
			Show: `
  #- id: support               # logs and webhooks show it
    #name: Support hotline
    #trunks: [carrier]         # of which the call comes; any
    #numbers: ["+4930123456"]  # called, in any spelling; any
    #inbound_numbers: []       # calling; any
    #default_region: DE        # of numbers without country code; dial.country
    #url: https://hooks.example/calls
    #method: POST              # POST, PUT, or GET: fields as query
    #timeout: 5s               # for all of it
    #fallback: 480             # when it fails: a code, or {action: …} as below
    #headers: {X-Tenant: acme} # added to the request
    #sip_headers: [X-Customer] # of the INVITE, told to the webhook
    #project_id: ""            # told to the webhook
    #hmac_secret: "AT-LEAST-16-CHARACTERS" # X-Signature
    #jwt: {issuer: key1, keys: [{id: key1, secret: "AT-LEAST-16-CHARACTERS"}]} # the first signs
    #allow_http: false         # an http:// URL
    #allow_private: []         # hosts of the URL with private addresses
    #ca_file: ca.crt           # authorities of the webhook; the system's
    #client_cert: hook.crt     # shown to it, with client_key
    #client_key: hook.key
    #proxy: http://proxy.example:3128
    #events: [answered, ended, transfer_failed, target_failed] # told to it
    #events_url: https://hooks.example/events # or to another
    #decide: [transfer_failed, target_failed] # its answer says how to go on
    #pin_check: local          # or webhook: asked with event pin_entered
    #mode: dial                # a transfer; redirect: answered 302
    #policy: no-international  # whom transfers, and REFERs of the caller, may call; default: policy
    #backend: https://cloud.example/ # Nextcloud of targets talk:; lets a webhook name them
    #language: de              # in which callers to Talk are spoken to; dialin.language
  # Without url the rule decides, by the fields that a webhook may answer:
  #- {id: closed, numbers: ["+4930123457"], action: hangup, reject_status_code: 486, reject_reason: Closed}
  #- {id: moved, numbers: ["+4930123458"], action: transfer, transfer_to: "sip:202@pbx.example", transfer_ringing_timeout: 20s, destination_name: Desk}
  #- {id: talk, numbers: ["+4930123459"], action: transfer, transfer_to: "talk:"} # or talk:TOKEN, talk:direct
  #- {id: conference, numbers: ["5000"], action: answer, room_name: support, pin: "1234", media_encryption: SRTP, metadata: "", attributes: {}}`},
		{Name: "dispatch.rules-dir", Set: setting.Path(&d.RulesDir), AtOnce: true, After: "dispatch.audio", Show: "dispatch.d",
			Doc:   "folder with more rules, in files `*.yaml` with a rule or a list of them; watched",
			About: "More rules, in files *.yaml with a rule or a list of them; watched."},
		{Name: "dispatch.trunks", Set: trunks(&d.Trunks), AtOnce: true,
			Doc: "who may send calls: `{name: carrier, sources: [192.0.2.7]}`, with `username` and `password` by digest, and `max-calls` at once (`0`: as many as `limits.calls`); other callers must prove that they are users",
			About: "Who may send calls: networks, addresses, the word domain (the domain's SIP\n" +
				"proxies). from-hosts tells trunks at one address apart; alone it would prove\n" +
				"nothing. With username the caller must prove to be that user, by password or\n" +
				"by the SIP password that users.yaml has. All others must prove to be a user.\n" +
				"max-calls bounds the calls that come in by it at once (480 beyond it);\n" +
				"default 0: as many as limits.calls.",
			Show: `
  #- {name: carrier, sources: [192.0.2.7, 198.51.100.0/24], from-hosts: [carrier.example], max-calls: 30}
  #- {name: branch, username: branch, password: "SECRET"}`},
		{Name: "dispatch.digest-algorithms", Set: setting.Texts(&d.DigestAlgorithms), AtOnce: true, Absent: "`[SHA-256, MD5]`", Show: "[SHA-256, MD5]",
			Doc: "by what callers are challenged, in this order; one that is left out is not taken. `[MD5]` for clients that read the first challenge only",
			About: "By what callers are challenged, in this order. MD5 first, or alone, is for\n" +
				"phones that look at the first challenge only, such as SIPp 3.6; an algorithm\n" +
				"that is left out is not taken."},
		{Name: "dispatch.rooms", Set: setting.Words(&d.Rooms, `{lobby: "sip:lobby@conference.example"}`), AtOnce: true,
			Show:  "{support: \"sip:9000@pbx.example\"}",
			Doc:   "SIP URIs by the name of a room, `{support: \"sip:9000@pbx.example\"}`",
			About: "What room_name in an answer stands for: SIP URIs by name, and for all others."},
		{Name: "dispatch.room-target", Set: setting.Text(&d.RoomTarget), AtOnce: true, Show: "\"sip:{room}@conference.example\"",
			Doc: "SIP URI of all other rooms, with `{room}`: `sip:{room}@conference.example`"},
		{Name: "dispatch.agent", Set: setting.Text(&d.Agent), AtOnce: true, Show: "\"201\"",
			Doc:   "the user whose SIP password answers challenges on the way to rooms and targets",
			About: "The user whose SIP password answers challenges on the way there."},
	}, d.Audio.rows()...)
}

// dispatchRules reads the items of "dispatch.rules".
func dispatchRules(p *[]dispatch.Rule) setting.Field {
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		rules, err := dispatch.ReadRules(v.Node, "", v.Dir)
		if all := Flatten(err); err != nil && len(all) > 0 {
			var at *fault.Fault
			if errors.As(all[0], &at) {
				return &fault.Fault{Line: at.Line, Err: at.Err}
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
		HasUsers: c.Phone.HasGateway(), CheckTalk: c.CheckTalk(), CheckLanguage: c.checkLanguage(),
		Gateway: dispatch.Gateway{URI: c.Dialout.Gateway.URI, Realm: c.Dialout.Gateway.Realm,
			Credentials: sipflow.Credentials{Username: c.Dialout.Gateway.User, Password: c.Dialout.Gateway.Secret}},
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
	v.dispatchAudio()
	if !v.c.Dispatch.InUse() {
		return
	}
	cfg := v.c.DispatchConfig()
	if book, err := policy.New(v.c.PolicyConfig(nil)); err == nil {
		cfg.CheckPolicy = book.Exists
	}
	if _, err := dispatch.Check(cfg); err != nil {
		for _, e := range Flatten(err) {
			var at *fault.Fault
			if errors.As(e, &at) && at.Key != "" {
				v.check(at.Key, at.Err)
				continue
			}
			v.errs = append(v.errs, e) // it says where
		}
	}
}

// NeedsPeers reports whether the addresses of the domain's proxies are asked for.
func (c *Config) NeedsPeers() bool {
	return c.TrustsDomain() || c.Dispatch.DomainTrunk()
}

// DomainTrunk reports whether the domain's proxies are a trunk's sources.
func (d *Dispatch) DomainTrunk() bool {
	return slices.ContainsFunc(d.Trunks, func(t dispatch.Trunk) bool { return slices.Contains(t.Sources, WordDomain) })
}
