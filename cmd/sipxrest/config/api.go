package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v4"

	"sipxrest/api"
	"sipxrest/internal/fault"
	"sipxrest/internal/setting"
)

// API is the section "api": version 1 of the JSON interface, at /v1.
type API struct {
	Enabled bool
	// DefaultFlow is what flow "auto" of a call means: "invite" or "refer".
	DefaultFlow string
	// CallTime is how long an ended call is shown, IdempotencyTime how long an
	// idempotency key is kept.
	CallTime, IdempotencyTime time.Duration
	// Keys are API keys, beside those of the file that "sipxrest key" writes.
	Keys []api.Key
	// KeyFile has the key by which secrets of webhooks are sealed in the database.
	KeyFile string
	Limits  APILimits
}

// APILimits is the section "api.limits".
type APILimits struct {
	Streams, StreamsPerUser, StreamsPerCall int // of events, at once
	Waits                                   int // answers that are put off
}

// rows are the keys of the section.
func (a *API) rows() []row {
	return []row{
		{Name: "api.enabled", Set: setting.Truth(&a.Enabled), Default: "true",
			Doc: "`false`: there is no `/v1`, the JSON API (see [api.md](api.md))"},
		{Name: "api.default-flow", Set: setting.Text(&a.DefaultFlow), Check: word("invite", "refer"), Default: "invite",
			Doc:   "how the phones of a call are joined that does not say: `invite`: all is known of the call and it can be controlled; `refer`: the phones are alone once they ring",
			About: "How calls are joined that do not say: invite or refer."},
		{Name: "api.call-time", Set: setting.Duration(&a.CallTime), Check: between(time.Minute, 90*24*time.Hour), Default: "72h",
			Doc:   "how long `/v1/calls` shows an ended call; 1 min to 90 days. Its record is kept for `cdr.retention`",
			About: "How long ended calls, and idempotency keys, are kept."},
		{Name: "api.idempotency-time", Set: setting.Duration(&a.IdempotencyTime), Check: between(time.Minute, 30*24*time.Hour), Default: "24h",
			Doc: "how long an `Idempotency-Key` is known; 1 min to 30 days"},
		{Name: "api.keys", Set: apiKeys(&a.Keys), AtOnce: true,
			Show: "[{name: crm, sha256: \"50d858e0985ecc7f60418aaf0cc5ab587f42c2570a884095a9e8ccacd0f6545c\", scopes: [\"calls:read\", \"calls:write\"], agents: [\"201\"]}]",
			Doc: "API keys, beside those that `sipxrest key add` makes (see [api-keys.md](api-keys.md)): `{name: crm, sha256: HEX, scopes: [\"calls:read\"], agents: [\"201\"], expires: 2027-12-31, networks: [192.0.2.0/24]}`; " +
				"`sha256` is that of the key, agents `[\"*\"]` are all",
			About: "Keys of programs, by their SHA-256; \"sipxrest key add --print\" makes a line."},
		{Name: "api.key-file", Set: setting.Path(&a.KeyFile), Show: "api.key",
			Doc:   "file with a key, of 16 bytes at least, by which secrets of webhooks are sealed in `events.db`; without it the mode of the file protects them",
			About: "Seals the secrets of webhooks in the database; openssl rand -base64 32 makes one."},
		{Name: "api.limits.streams", Set: setting.Number(&a.Limits.Streams), Check: count(1_000_000), Default: "10000",
			Doc: "streams of events at once (see [events.md](events.md)); more get 503"},
		{Name: "api.limits.streams-per-user", Set: setting.Number(&a.Limits.StreamsPerUser), Check: count(100_000), Default: "32",
			Doc: "those of one user, or of one key; more get 429"},
		{Name: "api.limits.streams-per-call", Set: setting.Number(&a.Limits.StreamsPerCall), Check: count(100_000), Default: "32",
			Doc: "those of one call; more get 429"},
		{Name: "api.limits.waits", Set: setting.Number(&a.Limits.Waits), Check: count(1_000_000), Default: "2000",
			Doc: "answers at once that are put off by `Prefer: wait`; more get 503"},
	}
}

// apiKeys reads the items of "api.keys".
func apiKeys(p *[]api.Key) setting.Field {
	const shape = `{name: crm, sha256: HEX, scopes: ["calls:read"], agents: ["201"]}`
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		if v.Node.Kind != yaml.SequenceNode {
			return errors.New("a list is expected here, such as [" + shape + "]")
		}
		list := make([]api.Key, 0, len(v.Node.Content))
		for _, item := range v.Node.Content {
			k, err := oneKey(item, shape)
			if err == nil {
				err = k.Check()
			}
			if err != nil {
				var at *fault.Fault
				if errors.As(err, &at) {
					return err
				}
				return &fault.Fault{Line: item.Line, Err: err}
			}
			list = append(list, k)
		}
		*p = list
		return nil
	}}
}

func oneKey(item *yaml.Node, shape string) (k api.Key, err error) {
	var scopes, networks []string
	var expires string
	if err := setting.Item(item, "write the key as "+shape, []setting.Key{
		{Name: "name", Field: setting.Text(&k.Name)}, {Name: "sha256", Field: setting.Text(&k.SHA256)},
		{Name: "scopes", Field: setting.Texts(&scopes)}, {Name: "agents", Field: setting.Texts(&k.Agents)},
		{Name: "expires", Field: setting.Text(&expires)}, {Name: "networks", Field: setting.Texts(&networks)},
	}); err != nil {
		return k, err
	}
	for _, s := range scopes {
		k.Scopes = append(k.Scopes, api.Scope(s))
	}
	if expires != "" {
		if k.Expires, err = api.ParseExpiry(expires, time.Time{}); err != nil {
			return k, fmt.Errorf("key %s: expires: %w", k.Name, err)
		}
	}
	for _, s := range networks {
		n, err := parsePrefix(s)
		if err != nil {
			return k, fmt.Errorf("key %s: networks: %w", k.Name, err)
		}
		k.Networks = append(k.Networks, n)
	}
	return k, nil
}

// KeysFile is the file with the API keys that "sipxrest key" writes.
func (c *Config) KeysFile() string { return filepath.Join(c.DataDir, api.KeysFile) }

// APIConfig is the section as its package wants it, without what only a running
// service has.
func (c *Config) APIConfig() api.Config {
	a := &c.API
	cfg := api.Config{
		Domain: c.Domain, DefaultFlow: a.DefaultFlow, CallTime: a.CallTime, IdempotencyTime: a.IdempotencyTime,
		RequestsPerUser: c.Limits.RequestsPerUser, CallRatePerKey: c.Limits.CallRatePerKey, CallsPerUser: c.Limits.CallsPerUser,
		Streams: a.Limits.Streams, StreamsPerUser: a.Limits.StreamsPerUser, StreamsPerCall: a.Limits.StreamsPerCall, Waits: a.Limits.Waits,
	}
	for _, l := range c.HTTP {
		if l.TLS != nil && cfg.TLSPort == "" {
			_, cfg.TLSPort, _ = net.SplitHostPort(l.Listen)
		}
	}
	return cfg
}

// ParseNetwork reads a network or an address, as every list of them in the
// configuration is read.
func ParseNetwork(text string) (netip.Prefix, error) { return parsePrefix(text) }
