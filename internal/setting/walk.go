package setting

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sipxrest/internal/fault"

	"go.yaml.in/yaml/v4"
)

// A Walk goes through a YAML mapping and sets the keys of its table. It goes
// on after a fault, so that one run shows them all.
type Walk struct {
	Keys []Key
	Dir  string
	// Fold, if set, is applied to a word before it is looked up, so that one key may
	// be written in several ways.
	Fold func(word string) string
	// OnSection, if set, is told of every section that the file opens.
	OnSection func(name string, n *yaml.Node) error
	// OnKey, if set, is told of every key that was set.
	OnKey func(name string, line int)

	Errs []*fault.Fault
}

func (w *Walk) fault(line int, err error) {
	var at *fault.Fault
	if errors.As(err, &at) {
		line = at.Line
	}
	w.Errs = append(w.Errs, &fault.Fault{Line: line, Err: err})
}

// Mapping sets what the section called name ("" at the top) holds.
func (w *Walk) Mapping(name string, n *yaml.Node) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], Follow(n.Content[i+1])
		if k.Kind != yaml.ScalarNode {
			w.fault(k.Line, errors.New("a key must be a plain word"))
			continue
		}
		word := k.Value
		if w.Fold != nil {
			word = w.Fold(word)
		}
		if first, twice := seen[word]; twice {
			advice := "remove one of them"
			if v.Kind == yaml.MappingNode {
				advice = "put what is below both into one"
			}
			w.fault(k.Line, fmt.Errorf("key %q was set already in line %d: %s", word, first, advice))
			continue
		}
		seen[word] = k.Line
		w.one(name, word, k, v)
	}
}

func (w *Walk) one(section, word string, k, v *yaml.Node) {
	name := word
	if section != "" {
		name = section + "." + name
	}
	for _, known := range w.Keys {
		switch {
		case known.Name == name:
			if v.Tag == "!!null" && !known.Null { // "realm:" with nothing behind it: the default
				return
			}
			if err := known.Set(Value{v, w.Dir}); err != nil {
				w.fault(v.Line, fmt.Errorf("%s: %w", name, err))
			} else if w.OnKey != nil {
				w.OnKey(name, k.Line)
			}
			return
		case strings.HasPrefix(known.Name, name+"."):
			if w.OnSection != nil {
				if err := w.OnSection(name, v); err != nil {
					w.fault(v.Line, fmt.Errorf("%s: %w", name, err))
					return
				}
			}
			switch {
			case v.Kind == yaml.MappingNode:
				w.Mapping(name, v)
			case v.Tag != "!!null":
				w.fault(v.Line, fmt.Errorf("%s is a section: put %s below it, indented", name, known.Name[len(name)+1:]))
			}
			return
		}
	}
	w.fault(k.Line, UnknownKey(section, k.Value, w.Keys))
}

// UnknownKey names the key that was meant: one of the same section, or else
// the same word in another place.
func UnknownKey(section, word string, keys []Key) error {
	prefix := ""
	if section != "" {
		prefix = section + "."
	}
	var here, elsewhere []string
	for _, k := range keys {
		if rest, ok := strings.CutPrefix(k.Name, prefix); ok {
			first, _, _ := strings.Cut(rest, ".")
			here = append(here, first)
		}
		elsewhere = append(elsewhere, k.Name)
	}
	here = slices.Compact(here)
	if best := Nearest(word, here); best != "" {
		return fmt.Errorf("unknown key %q: did you mean %q?", prefix+word, prefix+best)
	}
	for _, name := range elsewhere {
		if strings.HasSuffix("."+name, "."+word) {
			return fmt.Errorf("unknown key %q: did you mean %q? Write it in section %q", prefix+word, name, strings.TrimSuffix(name, "."+word))
		}
	}
	return fmt.Errorf("unknown key %q: known here are %s", prefix+word, strings.Join(here, ", "))
}

// Nearest returns the candidate that word most likely stands for, or "".
func Nearest(word string, candidates []string) string {
	if word == "" {
		return ""
	}
	word = strings.ToLower(strings.ReplaceAll(word, "_", "-"))
	best, least := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		if d := distance(word, strings.ToLower(strings.ReplaceAll(c, "_", "-"))); d < least {
			best, least = c, d
		}
	}
	if best == "" && len(word) > 3 {
		for _, c := range candidates {
			if l := strings.ToLower(c); strings.Contains(l, word) {
				return c
			}
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour until a is b.
func distance(a, b string) int {
	var older, old []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		older, old, row = old, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

// Item sets the keys of an item of a list.
func Item(item *yaml.Node, hint string, keys []Key) error {
	n := Follow(item)
	if n.Kind != yaml.MappingNode {
		return &fault.Fault{Line: item.Line, Err: errors.New(hint)}
	}
	return (&Walk{Keys: keys}).Item(n)
}

// Item sets what a mapping holds, and returns the first fault.
func (w *Walk) Item(n *yaml.Node) error {
	w.Mapping("", n)
	if len(w.Errs) > 0 {
		return w.Errs[0]
	}
	return nil
}

// OrList lists words for people: "a, b or c".
func OrList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
