package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sipxrest/cmd/sipxrest/version"
	"sipxrest/event"
	"sipxrest/internal/fault"
	"sipxrest/internal/limit"
	"sipxrest/internal/setting"
)

// EventWebhook is an item of "events.webhooks".
type EventWebhook struct {
	event.WebhookSpec
	SecretFile string // "whsec_…" in each line, the newest first
}

// webhookRows are the keys of the section "events" that are about webhooks.
func (e *Events) webhookRows() []row {
	return []row{
		{Name: "events.webhooks", Set: eventWebhooks(&e.Webhooks), AtOnce: true,
			Show: "[{name: crm, url: \"https://crm.example/hooks\", secret-file: crm.secret, events: [\"call.*\"]}]",
			Doc: "webhooks that are told of calls, beside those that clients make. Each is `{name, url, secret-file, events, agents, kinds, include, format, order, timeout, ed25519, headers}`. " +
				"`secret-file` has a `whsec_` in each line, the newest first; see [webhooks.md](webhooks.md)",
			About: "Webhooks that are told of it; secret-file has a whsec_ secret in each line."},
		{Name: "events.allow-private", Set: setting.Texts(&e.AllowPrivate), Check: networks, AtOnce: true, Show: "[10.1.2.0/24]",
			Doc: "networks that webhooks may be in though they are not public; only to these may they be without TLS"},
		{Name: "events.dead-letter-time", Set: setting.Duration(&e.DeadLetterTime), Check: between(time.Hour, 400*24*time.Hour), Default: "720h",
			Doc: "how long what a webhook has not taken is kept for a replay; 1 h to 400 days"},
	}
}

// networks wants networks or addresses.
func networks(at any) error {
	var errs []error
	for _, s := range *at.(*[]string) {
		if _, err := parsePrefix(s); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// eventWebhooks reads the items of "events.webhooks".
func eventWebhooks(p *[]EventWebhook) setting.Field {
	const shape = "{name: crm, url: https://crm.example/hooks, secret-file: crm.secret}"
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		if v.Node.Kind != yaml.SequenceNode {
			return errors.New("a list is expected here, such as [" + shape + "]")
		}
		list := make([]EventWebhook, 0, len(v.Node.Content))
		for _, item := range v.Node.Content {
			w, err := oneWebhook(setting.Follow(item), v.Dir, shape)
			if err != nil {
				var at *fault.Fault
				if errors.As(err, &at) {
					return err
				}
				return &fault.Fault{Line: item.Line, Err: err}
			}
			list = append(list, w)
		}
		*p = list
		return nil
	}}
}

func oneWebhook(n *yaml.Node, dir, shape string) (w EventWebhook, err error) {
	var kinds []string
	var timeout time.Duration
	if n.Kind != yaml.MappingNode {
		return w, errors.New("write the webhook as " + shape)
	}
	walk := setting.Walk{Dir: dir, Keys: []setting.Key{
		{Name: "name", Field: setting.Text(&w.Name)}, {Name: "url", Field: setting.Text(&w.URL)}, {Name: "secret-file", Field: setting.Path(&w.SecretFile)},
		{Name: "events", Field: setting.Texts(&w.Events)}, {Name: "agents", Field: setting.Texts(&w.Agents)}, {Name: "kinds", Field: setting.Texts(&kinds)},
		{Name: "include", Field: setting.Text(&w.Include)}, {Name: "format", Field: setting.Text(&w.Format)}, {Name: "order", Field: setting.Text(&w.Order)},
		{Name: "timeout", Field: setting.Duration(&timeout)}, {Name: "ed25519", Field: setting.Truth(&w.Ed25519)},
		{Name: "headers", Field: setting.Words(&w.Headers, `{X-Tenant: acme}`)},
	}}
	if err := walk.Item(n); err != nil {
		return w, err
	}
	for _, k := range kinds {
		w.Kinds = append(w.Kinds, event.Kind(k))
	}
	w.TimeoutMS = timeout.Milliseconds()
	w.Complete()
	return w, nil
}

// webhooks checks "events.webhooks", but for the files with secrets.
func (v *checks) webhooks() {
	names := map[string]bool{}
	private := Prefixes(v.c.Events.AllowPrivate)
	if n := len(v.c.Events.Webhooks); n > event.MaxWebhooks {
		v.check("events.webhooks", fmt.Errorf("%d: %d are the most", n, event.MaxWebhooks))
	}
	for i := range v.c.Events.Webhooks {
		w := &v.c.Events.Webhooks[i]
		for _, f := range w.Check(private) {
			key := f.Key
			if key == "timeout_ms" {
				key = "timeout, in ms"
			}
			v.check("events.webhooks", fmt.Errorf("%s: %s: %w", w.Name, key, f.Err))
		}
		if w.SecretFile == "" {
			v.check("events.webhooks", fmt.Errorf("%s: secret-file: missing: name a file with a line such as whsec_… (`echo whsec_$(openssl rand -base64 32)`)", w.Name))
		}
		if names[w.Name] {
			v.check("events.webhooks", fmt.Errorf("two are called %s: rename one", w.Name))
		}
		names[w.Name] = true
	}
}

const (
	// maxSecretFile bounds a file with secrets, in bytes.
	maxSecretFile = 64 << 10
	// minKeyFile is the least that api.key-file must have.
	minKeyFile = 16
)

// ConfiguredWebhooks are those of the section, with the secrets of their files as
// they are now.
func (c *Config) ConfiguredWebhooks() ([]event.ConfiguredWebhook, error) {
	var list []event.ConfiguredWebhook
	for _, w := range c.Events.Webhooks {
		data, err := limit.ReadFile(w.SecretFile, maxSecretFile)
		if err != nil {
			return nil, fmt.Errorf("events.webhooks: %s: secret-file: %w", w.Name, err)
		}
		secrets := strings.Fields(string(data))
		list = append(list, event.ConfiguredWebhook{WebhookSpec: w.WebhookSpec, Secrets: secrets})
	}
	if err := event.CheckConfigured(Prefixes(c.Events.AllowPrivate), list); err != nil {
		return nil, fmt.Errorf("events.webhooks: %w", err)
	}
	return list, nil
}

// OutboxConfig is what webhooks need, with the secrets of the files.
func (c *Config) OutboxConfig() (event.OutboxConfig, error) {
	o := event.OutboxConfig{DeadLetterTime: c.Events.DeadLetterTime, AllowPrivate: slices.Clone(Prefixes(c.Events.AllowPrivate)),
		UserAgent: "sipxrest/" + version.Current().Version, Resolver: webResolver(c.DNS.Servers)}
	if c.API.KeyFile != "" {
		key, err := limit.ReadFile(c.API.KeyFile, maxSecretFile)
		if err == nil && len(strings.TrimSpace(string(key))) < minKeyFile {
			err = fmt.Errorf("%s has less than %d bytes: make it by `openssl rand -base64 32`", c.API.KeyFile, minKeyFile)
		}
		if err != nil {
			return o, c.At("api.key-file", fmt.Errorf("api.key-file: %w", err))
		}
		o.Key = []byte(strings.TrimSpace(string(key)))
	}
	var err error
	if o.Webhooks, err = c.ConfiguredWebhooks(); err != nil {
		return o, c.At("events.webhooks", err)
	}
	return o, nil
}
