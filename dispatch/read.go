package dispatch

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/fault"
	"sipxrest/internal/setting"
)

// ReadRules reads a rule, or a list of rules, of a YAML document. Relative
// names of files start at dir; file is for messages. Its error joins one *fault.Fault
// for each rule that cannot be read.
func ReadRules(n *yaml.Node, file, dir string) ([]Rule, error) {
	n = setting.Follow(n)
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	rules := make([]Rule, 0, len(items))
	var errs []error
	for i, item := range items {
		r, err := readRule(setting.Follow(item), dir)
		r.File, r.Line = file, item.Line
		if err != nil {
			name := fmt.Sprintf("rule %q", r.ID)
			if r.ID == "" {
				name = fmt.Sprintf("rule %d", i+1)
			}
			errs = append(errs, at(item.Line, name, err))
			continue
		}
		rules = append(rules, r)
	}
	return rules, errors.Join(errs...)
}

// ParseRules reads the text of a file with rules. Each line of its error begins
// with file:line.
func ParseRules(data []byte, file string) ([]Rule, error) {
	root, err := setting.Document(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if root == nil {
		return nil, nil
	}
	rules, err := ReadRules(root, file, filepath.Dir(file))
	return rules, inFile(file, err)
}

// inFile puts the file and the line before each fault.
func inFile(file string, err error) error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s: %w", file, err)
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		var f *fault.Fault
		if errors.As(e, &f) {
			e = fmt.Errorf("%s:%d: %w", file, f.Line, f.Err)
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// readRule reads one rule.
func readRule(n *yaml.Node, dir string) (r Rule, err error) {
	if n.Kind != yaml.MappingNode {
		return r, errors.New(`write it as {id: "1", url: "https://example.com/calls"}`)
	}
	keys := r.fields()
	static, fallback := fields{}, (*yaml.Node)(nil)
	first := ""
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if keyName(n.Content[i].Value) == "id" { // first: mistakes name it
			_ = keys["id"].Set(setting.Value{Node: setting.Follow(n.Content[i+1])})
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], setting.Follow(n.Content[i+1])
		name := keyName(k.Value)
		field := plain(k.Value)
		if known[field] {
			name = field
		}
		if seen[name] {
			return r, &fault.Fault{Line: k.Line, Err: fmt.Errorf("%.64s: given twice", k.Value)}
		}
		seen[name] = true
		switch key, ours := keys[name]; {
		case name == "fallback":
			fallback = v
		case ours:
			if v.Tag == "!!null" && !key.Null {
				continue
			}
			if err := key.Set(setting.Value{Node: v, Dir: dir}); err != nil {
				return r, at(v.Line, name, err)
			}
		case known[field]:
			left := maxNodes
			data, err := toJSON(v, &left, 0)
			if err != nil {
				return r, at(v.Line, k.Value, err)
			}
			if string(data) != "null" {
				static[field] = data
				if first == "" {
					first = k.Value
				}
			}
		default:
			return r, &fault.Fault{Line: k.Line, Err: unknownKey(k.Value, keys)}
		}
	}
	r.Method = strings.ToUpper(r.Method)
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	if r.Fallback, err = readFallback(fallback); err != nil {
		return r, err
	}
	if len(static) == 0 {
		return r, nil
	}
	if seen["url"] {
		return r, fmt.Errorf("url: a webhook decides, or the rule does (%s): leave one out", first)
	}
	d, err := static.decision()
	if err != nil {
		return r, err
	}
	r.Static = &d
	return r, nil
}

// readFallback reads what becomes of a call whose webhook fails: a code, or the
// fields of a response.
func readFallback(n *yaml.Node) (d Decision, err error) {
	d = Decision{Action: Hangup, Code: codeFallback}
	if n == nil || n.Tag == "!!null" {
		return d, nil
	}
	if n.Kind == yaml.ScalarNode {
		code, err := parseCode(n.Value)
		if err == nil && code == 503 {
			err = errDraining503
		}
		if err != nil {
			return d, at(n.Line, "fallback", err)
		}
		if code != 0 {
			d.Code = code
		}
		return d, nil
	}
	if n.Kind != yaml.MappingNode {
		return d, &fault.Fault{Line: n.Line, Err: errors.New("fallback: write a code such as 486, or {action: transfer, transfer_to: …}")}
	}
	f := fields{}
	left := maxNodes
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if !known[plain(k.Value)] {
			return d, &fault.Fault{Line: k.Line, Err: fmt.Errorf("fallback: unknown key %.64q: write what a webhook may answer, such as {action: transfer, transfer_to: …}", k.Value)}
		}
		data, err := toJSON(v, &left, 0)
		if err != nil {
			return d, at(v.Line, "fallback", err)
		}
		if string(data) != "null" {
			f[plain(k.Value)] = data
		}
	}
	if d, err = f.decision(); err == nil && d.Action == Hangup && d.Code == 503 {
		err = errDraining503
	}
	if err != nil {
		return d, at(n.Line, "fallback", err)
	}
	return d, nil
}

// answers are the fields of a response as people write them, for hints.
var answers = []string{
	"action", "room_name", "pin", "metadata", "attributes", "room_preset", "room_config", "krisp_enabled", "media_encryption",
	"reject_status_code", "reject_reason", "transfer_to", "destination_name", "transfer_ringing_timeout",
}

// unknownKey is the error for a key that a rule has not; it names the one that was
// probably meant.
func unknownKey(key string, fields map[string]setting.Field) error {
	names := slices.Sorted(maps.Keys(fields))
	if best := setting.Nearest(key, slices.Concat([]string{"fallback"}, names, answers)); best != "" {
		return fmt.Errorf("unknown key %.64q: did you mean %s?", key, best)
	}
	return fmt.Errorf("unknown key %.64q: known are fallback, %s, and what a webhook answers (action, room_name…)", key, strings.Join(names, ", "))
}
