package dispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/fault"
	"sipxrest/internal/setting"
	"sipxrest/internal/webhook"
)

// setters read the keys of a rule. Those of a static rule are the fields of an
// answer, see known.
func (r *Rule) setters(dir string) map[string]func(*yaml.Node) error {
	file := func(p *string) func(*yaml.Node) error {
		return func(n *yaml.Node) error {
			err := text(p)(n)
			if err == nil && *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
			return err
		}
	}
	return map[string]func(*yaml.Node) error{
		"id": text(&r.ID), "name": text(&r.Name), "url": text(&r.URL), "events_url": text(&r.EventsURL), "method": text(&r.Method),
		"trunks": texts(&r.Trunks), "numbers": texts(&r.Numbers), "inbound_numbers": texts(&r.InboundNumbers),
		"default_region": text(&r.DefaultRegion), "timeout": span(&r.Timeout, 100*time.Millisecond, 30*time.Second),
		"headers": headers(&r.Headers), "sip_headers": texts(&r.SIPHeaders), "project_id": text(&r.ProjectID),
		"hmac_secret": secret(&r.HMACSecret), "jwt": readJWT(&r.JWT), "allow_http": truth(&r.AllowHTTP),
		"allow_private": texts(&r.AllowPrivate), "ca_file": file(&r.CAFile), "client_cert": file(&r.ClientCert),
		"client_key": file(&r.ClientKey), "proxy": text(&r.Proxy), "mode": word(&r.Redirect, "redirect", "dial"),
		"events": events(&r.Events), "decide": events(&r.Decide), "pin_check": word(&r.CheckPIN, "webhook", "local"),
		"policy": text(&r.Policy),
	}
}

// keyName is a key as it is looked up: rules-dir and rules_dir are one.
func keyName(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

func scalar(n *yaml.Node) (string, error) {
	n = setting.Follow(n)
	if n.Kind != yaml.ScalarNode {
		return "", errors.New("one value is expected here, not a list or a section")
	}
	if n.Tag == "!!null" {
		return "", nil
	}
	return n.Value, nil
}

func text(p *string) func(*yaml.Node) error {
	return func(n *yaml.Node) (err error) {
		*p, err = scalar(n)
		return err
	}
}

func secret(p *webhook.Secret) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		s, err := scalar(n)
		if err == nil && s == "" {
			return errors.New("it is empty: leave the key out, or write the secret")
		}
		*p = webhook.Secret(s)
		return err
	}
}

// texts reads a list; a single value is a list of one.
func texts(p *[]string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		items := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			items = n.Content
		}
		var list []string
		for _, item := range items {
			s, err := scalar(item)
			if err != nil {
				return &fault.Fault{Line: item.Line, Err: errors.New("a list of plain values is expected here, such as [a, b]")}
			}
			if s == "" {
				return &fault.Fault{Line: item.Line, Err: errors.New("an empty value: leave it out")}
			}
			list = append(list, s)
		}
		*p = list
		return nil
	}
}

func truth(p *bool) func(*yaml.Node) error { return word(p, "true", "false") }

// word reads one of two words.
func word(p *bool, yes, no string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		s, err := scalar(n)
		switch {
		case err != nil:
			return err
		case s == yes:
			*p = true
		case s == no:
			*p = false
		default:
			return fmt.Errorf("%.40q is unknown: write %s or %s", s, yes, no)
		}
		return nil
	}
}

func span(p *time.Duration, least, most time.Duration) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%.40q is not a time: write 5s, with the unit", s)
		}
		if d < least || d > most {
			return fmt.Errorf("%v is not between %v and %v", d, least, most)
		}
		*p = d
		return nil
	}
}

func events(p *Events) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		var list []string
		if err := texts(&list)(n); err != nil {
			return err
		}
		*p = 0
		for _, name := range list {
			bit := Events(0)
			for i, known := range eventNames {
				if keyName(name) == known {
					bit = 1 << i
				}
			}
			if bit == 0 {
				return fmt.Errorf("%.40q is unknown: there are %s", name, strings.Join(eventNames, ", "))
			}
			*p |= bit
		}
		return nil
	}
}

func headers(p *http.Header) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.MappingNode {
			return errors.New("names and values are expected here, such as {X-Token: abc}")
		}
		h := http.Header{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			value, err := scalar(n.Content[i+1])
			if err != nil {
				return &fault.Fault{Line: n.Content[i].Line, Err: fmt.Errorf("%.64s: %w", n.Content[i].Value, err)}
			}
			h.Add(n.Content[i].Value, value)
		}
		*p = h
		return nil
	}
}

// readJWT reads jwt: {issuer, keys: [{id, secret}]}.
func readJWT(j *webhook.JWT) func(*yaml.Node) error {
	return func(n *yaml.Node) error { return fillJWT(j, n) }
}

func fillJWT(j *webhook.JWT, n *yaml.Node) error {
	err := mapping(n, map[string]func(*yaml.Node) error{
		"issuer": text(&j.Issuer),
		"keys": func(n *yaml.Node) error {
			if n.Kind != yaml.SequenceNode {
				return errors.New(`a list is expected here, such as [{id: "1", secret: "…"}]`)
			}
			for _, item := range n.Content {
				var k webhook.Key
				if err := mapping(setting.Follow(item), map[string]func(*yaml.Node) error{"id": text(&k.ID), "secret": secret(&k.Secret)}); err != nil {
					return err
				}
				j.Keys = append(j.Keys, k)
			}
			return nil
		},
	})
	if err == nil && len(j.Keys) == 0 { // who writes the section wants to sign
		return errors.New(`keys: missing: write [{id: "1", secret: "…"}]`)
	}
	return err
}

// mapping reads a section with known keys.
func mapping(n *yaml.Node, keys map[string]func(*yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return &fault.Fault{Line: n.Line, Err: fmt.Errorf("a section is expected here, with %s", keyList(keys))}
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], setting.Follow(n.Content[i+1])
		name := keyName(k.Value)
		set := keys[name]
		switch {
		case set == nil:
			return &fault.Fault{Line: k.Line, Err: fmt.Errorf("unknown key %.64q: known here are %s", k.Value, keyList(keys))}
		case seen[name]:
			return &fault.Fault{Line: k.Line, Err: fmt.Errorf("%s: given twice", name)}
		}
		seen[name] = true
		if err := set(v); err != nil {
			return at(v.Line, name, err)
		}
	}
	return nil
}

// at puts a key before a mistake, and keeps the line if it has one.
func at(line int, key string, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		line, err = f.Line, f.Err
	}
	return &fault.Fault{Line: line, Err: fmt.Errorf("%s: %w", key, err)}
}

// maxNodes bounds what is read of one value: an alias of aliases is short to
// write.
const maxNodes = 10_000

// toJSON writes a YAML value as JSON, so that a static rule is read as an
// answer is.
func toJSON(n *yaml.Node, left *int, depth int) (json.RawMessage, error) {
	n = setting.Follow(n)
	if *left--; *left < 0 || depth > maxDepth {
		return nil, errors.New("too big")
	}
	switch n.Kind {
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return json.RawMessage("null"), nil
		case "!!int", "!!float":
			// The text as it stands, or YAML's idea of it: 0123 is a PIN to us.
			if json.Valid([]byte(n.Value)) {
				return json.RawMessage(n.Value), nil
			}
		case "!!bool":
			if v := strings.ToLower(n.Value); v == "true" || v == "false" {
				return json.RawMessage(v), nil
			}
		}
		return json.Marshal(n.Value)
	case yaml.SequenceNode:
		list := []json.RawMessage{}
		for _, item := range n.Content {
			v, err := toJSON(item, left, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return json.Marshal(list)
	case yaml.MappingNode:
		m := map[string]json.RawMessage{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := toJSON(n.Content[i+1], left, depth+1)
			if err != nil {
				return nil, err
			}
			m[n.Content[i].Value] = v
		}
		return json.Marshal(m)
	}
	return nil, errors.New("a value is expected here")
}
