package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/config"
)

type keyCommand struct {
	Add    keyAdd    `cmd:"" help:"Make an API key, and print it once."`
	List   keyList   `cmd:"" help:"List the API keys."`
	Revoke keyRevoke `cmd:"" help:"End an API key."`
}

// keyFlags say where the keys are.
type keyFlags struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`
	File        string `placeholder:"FILE" help:"The file with the keys. Default: api-keys.json in data-dir of the configuration."`
}

// locate returns the file with the keys, and the keys of the configuration, which
// are not there. The service may have another file if it is started otherwise: so
// it is said.
func (f *keyFlags) locate(w world) (file string, fixed []api.Key, err error) {
	if f.File != "" {
		file, err = filepath.Abs(f.File)
		return file, nil, err
	}
	src, err := f.source(w)
	if err != nil {
		return "", nil, err
	}
	cfg, err := config.Load(src)
	if err != nil {
		if errors.Is(err, config.ErrNoConfig) {
			return "", nil, errors.New("where are the keys? There is no configuration here that says it: add --config FILE, or --file FILE")
		}
		return "", nil, fmt.Errorf("the configuration, which says where the keys are, cannot be used; correct it, or add --file FILE: %w", err)
	}
	if file, err = filepath.Abs(cfg.KeysFile()); err != nil {
		return "", nil, err
	}
	return file, cfg.API.Keys, nil
}

// keysOf says what to do where the file is another user's.
func keysOf(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the service makes its data-dir when it starts; or name another by --data-dir", err)
	}
	return forOwner(err)
}

type keyAdd struct {
	keyFlags
	Name     string   `required:"" placeholder:"NAME" help:"Name of the key, for logs and messages."`
	Scopes   []string `required:"" placeholder:"SCOPE" help:"What it may do: calls:read, calls:write, events:read, check, users:read, cdrs:read, webhooks:manage, webhooks:call, or admin for all."`
	Agents   []string `required:"" placeholder:"USER" help:"Users for whom it may act, or * for all."`
	Expires  string   `placeholder:"WHEN" help:"When it ends: a day such as 2027-12-31, or a number of days such as 90d. Default: never."`
	Networks []string `placeholder:"NET" help:"Networks from which it is taken. Default: all."`
	Print    bool     `help:"Write no file: print the line for api.keys of the configuration."`
}

// Help is what key add --help adds.
func (*keyAdd) Help() string {
	return `The key is printed once; only its SHA-256 is kept. With it comes the secret that
signs webhooks of single calls. A running service takes the key within a second.

Examples:

  sipxrest key add --name crm --scopes calls:read,calls:write,events:read --agents 201,202
  sipxrest key add --name wallboard --scopes events:read --agents '*' --expires 90d --networks 192.0.2.0/24
  sipxrest key add --name crm --scopes calls:write --agents '*' --print`
}

// Run makes the key.
func (c *keyAdd) Run(w world) error {
	now := time.Now()
	text, k := api.NewKey(c.Name)
	k.Created = now.UTC().Truncate(time.Second)
	k.Agents = c.Agents
	for _, s := range c.Scopes {
		k.Scopes = append(k.Scopes, api.Scope(s))
	}
	if c.Expires != "" {
		var err error
		if k.Expires, err = api.ParseExpiry(c.Expires, now); err != nil {
			return fmt.Errorf("--expires %w", err)
		}
		if !k.Expires.After(now) {
			return fmt.Errorf("--expires %s: that is over already", c.Expires)
		}
	}
	for _, s := range c.Networks {
		n, err := config.ParseNetwork(s)
		if err != nil {
			return fmt.Errorf("--networks %w", err)
		}
		k.Networks = append(k.Networks, n)
	}
	if err := k.Check(); err != nil {
		return err
	}
	if c.Print {
		fmt.Fprintf(w.stdout, "%s\n", keyLine(&k))
		fmt.Fprintf(w.stderr, "key %s\nwebhook secret %s\n", text, api.WebhookSecret(text))
		return nil
	}
	file, fixed, err := c.locate(w)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(fixed, func(f api.Key) bool { return f.Name == k.Name }) {
		return fmt.Errorf("there is a key %s in the configuration: choose another name", k.Name)
	}
	err = api.ChangeKeys(file, func(keys []api.Key) ([]api.Key, error) {
		if slices.ContainsFunc(keys, func(f api.Key) bool { return f.Name == k.Name }) {
			return nil, fmt.Errorf("there is a key %s: choose another name, or revoke that one first", k.Name)
		}
		return append(keys, k), nil
	})
	if err != nil {
		return keysOf(err)
	}
	fmt.Fprintf(w.stderr, "keys %s\n", file)
	fmt.Fprintf(w.stdout, "%s\n", text)
	fmt.Fprintf(w.stderr, "webhook secret %s\n", api.WebhookSecret(text))
	return nil
}

// keyLine is a key as an item of api.keys.
func keyLine(k *api.Key) string {
	quoted := func(list []string) string {
		for i := range list {
			list[i] = fmt.Sprintf("%q", list[i])
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	line := fmt.Sprintf("- {name: %q, sha256: %q, scopes: %s, agents: %s", k.Name, k.SHA256, quoted(scopeNames(k)), quoted(slices.Clone(k.Agents)))
	if !k.Expires.IsZero() {
		line += fmt.Sprintf(", expires: %q", k.Expires.Format(time.RFC3339))
	}
	if len(k.Networks) > 0 {
		line += ", networks: " + quoted(networkNames(k.Networks))
	}
	return line + "}"
}

func scopeNames(k *api.Key) (list []string) {
	for _, s := range k.Scopes {
		list = append(list, string(s))
	}
	return list
}

func networkNames(nets []netip.Prefix) (list []string) {
	for _, n := range nets {
		list = append(list, n.String())
	}
	return list
}

type keyList struct{ keyFlags }

// Run prints a line for each key.
func (c *keyList) Run(w world) error {
	file, fixed, err := c.locate(w)
	if err != nil {
		return err
	}
	keys, err := api.ReadKeys(file)
	if err != nil {
		return keysOf(err)
	}
	fmt.Fprintf(w.stderr, "keys %s\n", file)
	table := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	for i, k := range append(slices.Clone(keys), fixed...) {
		expires, networks, where := "never ends", "", ""
		if !k.Expires.IsZero() {
			if expires = "until " + k.Expires.Format(time.RFC3339); !time.Now().Before(k.Expires) {
				expires = "ended " + k.Expires.Format(time.RFC3339)
			}
		}
		if len(k.Networks) > 0 {
			networks = "from " + strings.Join(networkNames(k.Networks), ",")
		}
		if i >= len(keys) {
			where = "in the configuration"
		}
		line := strings.Join([]string{k.Name, strings.Join(scopeNames(&k), ","), "for " + strings.Join(k.Agents, ","), expires, networks, where}, "\t")
		fmt.Fprintln(table, strings.TrimRight(line, "\t"))
	}
	return table.Flush()
}

type keyRevoke struct {
	keyFlags
	Name string `arg:"" help:"Name of the key."`
}

// Help is what key revoke --help adds.
func (*keyRevoke) Help() string {
	return `A running service refuses the key within a second, and ends its streams within seconds.`
}

// Run ends the key.
func (c *keyRevoke) Run(w world) error {
	file, fixed, err := c.locate(w)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(fixed, func(k api.Key) bool { return k.Name == c.Name }) {
		return fmt.Errorf("the key %s is in the configuration, under api.keys: remove it there and reload", c.Name)
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no key %s: there is no file %s", c.Name, file)
	}
	return keysOf(api.ChangeKeys(file, func(keys []api.Key) ([]api.Key, error) {
		rest := slices.DeleteFunc(slices.Clone(keys), func(k api.Key) bool { return k.Name == c.Name })
		if len(rest) == len(keys) {
			return nil, fmt.Errorf("there is no key %s in %s: sipxrest key list shows them", c.Name, file)
		}
		return rest, nil
	}))
}
