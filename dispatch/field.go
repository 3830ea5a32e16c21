package dispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/fault"
	"sipxrest/internal/setting"
	"sipxrest/internal/webhook"
)

// fields read the keys of a rule. Those of a static rule are the fields of a
// webhook's response, see known.
func (r *Rule) fields() map[string]setting.Field {
	return map[string]setting.Field{
		"id": setting.Text(&r.ID), "name": setting.Text(&r.Name), "url": setting.Text(&r.URL), "events_url": setting.Text(&r.EventsURL), "method": setting.Text(&r.Method),
		"trunks": texts(&r.Trunks), "numbers": texts(&r.Numbers), "inbound_numbers": texts(&r.InboundNumbers),
		"default_region": setting.Text(&r.DefaultRegion), "timeout": span(&r.Timeout, 100*time.Millisecond, 30*time.Second),
		"headers": headers(&r.Headers), "sip_headers": texts(&r.SIPHeaders), "project_id": setting.Text(&r.ProjectID),
		"hmac_secret": secret(&r.HMACSecret), "jwt": readJWT(&r.JWT), "allow_http": setting.Word(&r.AllowHTTP, "true", "false"),
		"allow_private": texts(&r.AllowPrivate), "ca_file": setting.Path(&r.CAFile), "client_cert": setting.Path(&r.ClientCert),
		"client_key": setting.Path(&r.ClientKey), "proxy": setting.Text(&r.Proxy), "mode": setting.Word(&r.Redirect, "redirect", "dial"),
		"events": events(&r.Events), "decide": events(&r.Decide), "pin_check": setting.Word(&r.CheckPIN, "webhook", "local"),
		"policy": setting.Text(&r.Policy), "backend": setting.Text(&r.Backend), "language": setting.Text(&r.Language),
	}
}

// keyName is a key as it is looked up: rules-dir and rules_dir are one.
func keyName(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// secret reads what requests are signed with. Its author wants that: nothing behind
// the key is a mistake.
func secret(p *webhook.Secret) setting.Field {
	return setting.Field{At: p, Null: true, Set: func(v setting.Value) error {
		s, err := setting.Scalar(v.Node)
		if err == nil && s == "" {
			return errors.New("it is empty: leave the key out, or write the secret")
		}
		*p = webhook.Secret(s)
		return err
	}}
}

// texts reads a list of which none is empty; a single value is a list of one.
func texts(p *[]string) setting.Field {
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		var list []string
		if err := setting.Texts(&list).Set(v); err != nil {
			return err
		}
		if i := slices.Index(list, ""); i >= 0 {
			line := v.Node.Line
			if v.Node.Kind == yaml.SequenceNode {
				line = v.Node.Content[i].Line
			}
			return &fault.Fault{Line: line, Err: errors.New("an empty value: leave it out")}
		}
		*p = list
		return nil
	}}
}

func span(p *time.Duration, least, most time.Duration) setting.Field {
	return setting.Field{At: p, Set: func(v setting.Value) error {
		s, err := setting.Scalar(v.Node)
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
	}}
}

func events(p *Events) setting.Field {
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		var list []string
		if err := texts(&list).Set(v); err != nil {
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
	}}
}

func headers(p *http.Header) setting.Field {
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		n := v.Node
		if n.Kind != yaml.MappingNode {
			return errors.New("names and values are expected here, such as {X-Token: abc}")
		}
		h := http.Header{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			value, err := setting.Scalar(n.Content[i+1])
			if err != nil {
				return &fault.Fault{Line: n.Content[i].Line, Err: fmt.Errorf("%.64s: %w", n.Content[i].Value, err)}
			}
			h.Add(n.Content[i].Value, value)
		}
		*p = h
		return nil
	}}
}

// readJWT reads jwt: {issuer, keys: [{id, secret}]}.
func readJWT(j *webhook.JWT) setting.Field {
	return setting.Field{At: j, List: true, Null: true, Set: func(v setting.Value) error {
		keys := setting.Field{At: &j.Keys, List: true, Null: true, Set: func(v setting.Value) error {
			if v.Node.Kind != yaml.SequenceNode {
				return errors.New(`a list is expected here, such as [{id: "1", secret: "…"}]`)
			}
			for _, item := range v.Node.Content {
				var k webhook.Key
				if err := mapping(item, "id, secret", []setting.Key{{Name: "id", Field: setting.Text(&k.ID)}, {Name: "secret", Field: secret(&k.Secret)}}); err != nil {
					return err
				}
				j.Keys = append(j.Keys, k)
			}
			return nil
		}}
		err := mapping(v.Node, "issuer, keys", []setting.Key{{Name: "issuer", Field: setting.Text(&j.Issuer)}, {Name: "keys", Field: keys}})
		if err == nil && len(j.Keys) == 0 { // a section without keys is a mistake: its author wants to sign
			return errors.New(`keys: missing: write [{id: "1", secret: "…"}]`)
		}
		return err
	}}
}

// mapping reads a section with known keys.
func mapping(n *yaml.Node, names string, keys []setting.Key) error {
	if n = setting.Follow(n); n.Kind != yaml.MappingNode {
		return &fault.Fault{Line: n.Line, Err: errors.New("a section is expected here, with " + names)}
	}
	return (&setting.Walk{Keys: keys, Fold: keyName}).Item(n)
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

// toJSON writes a YAML value as JSON, so that a static rule is read as a
// webhook's response is.
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
