package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/setting"
)

// A walk goes through a YAML mapping and sets the keys of its table. It goes
// on after a fault, so that one run shows them all.
type walk struct {
	keys []key
	dir  string
	// section, if set, is told of every section that the file opens.
	section func(name string, n *yaml.Node) error
	// done, if set, is told of every key that was set.
	done func(name string, line int)

	errs []*lineError
}

func (w *walk) fault(line int, err error) {
	var at *lineError
	if errors.As(err, &at) {
		line = at.line
	}
	w.errs = append(w.errs, &lineError{line, err})
}

// mapping sets what the section called name ("" at the top) holds.
func (w *walk) mapping(name string, n *yaml.Node) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], setting.Follow(n.Content[i+1])
		if k.Kind != yaml.ScalarNode {
			w.fault(k.Line, errors.New("a key must be a plain word"))
			continue
		}
		if first, twice := seen[k.Value]; twice {
			advice := "remove one of them"
			if v.Kind == yaml.MappingNode {
				advice = "put what is below both into one"
			}
			w.fault(k.Line, fmt.Errorf("key %q was set already in line %d: %s", k.Value, first, advice))
			continue
		}
		seen[k.Value] = k.Line
		w.one(name, k, v)
	}
}

func (w *walk) one(section string, k, v *yaml.Node) {
	name := k.Value
	if section != "" {
		name = section + "." + name
	}
	for _, known := range w.keys {
		switch {
		case known.name == name:
			if v.Tag == "!!null" { // "realm:" with nothing behind it: the default
				return
			}
			if err := known.set(value{v, w.dir}); err != nil {
				w.fault(v.Line, fmt.Errorf("%s: %w", name, err))
			} else if w.done != nil {
				w.done(name, k.Line)
			}
			return
		case strings.HasPrefix(known.name, name+"."):
			if w.section != nil {
				if err := w.section(name, v); err != nil {
					w.fault(v.Line, fmt.Errorf("%s: %w", name, err))
					return
				}
			}
			switch {
			case v.Kind == yaml.MappingNode:
				w.mapping(name, v)
			case v.Tag != "!!null":
				w.fault(v.Line, fmt.Errorf("%s is a section: put %s below it, indented", name, known.name[len(name)+1:]))
			}
			return
		}
	}
	w.fault(k.Line, unknownKey(section, k.Value, w.keys))
}

// unknownKey names the key that was meant: one of the same section, or else
// the same word in another place.
func unknownKey(section, word string, keys []key) error {
	prefix := ""
	if section != "" {
		prefix = section + "."
	}
	var here, elsewhere []string
	for _, k := range keys {
		if rest, ok := strings.CutPrefix(k.name, prefix); ok {
			first, _, _ := strings.Cut(rest, ".")
			here = append(here, first)
		}
		elsewhere = append(elsewhere, k.name)
	}
	here = slices.Compact(here)
	if best := nearest(word, here); best != "" {
		return fmt.Errorf("unknown key %q: did you mean %q?", prefix+word, prefix+best)
	}
	for _, name := range elsewhere {
		if strings.HasSuffix("."+name, "."+word) {
			return fmt.Errorf("unknown key %q: did you mean %q? Write it in section %q", prefix+word, name, strings.TrimSuffix(name, "."+word))
		}
	}
	return fmt.Errorf("unknown key %q: known here are %s", prefix+word, strings.Join(here, ", "))
}

// Nearest answers the candidate that word most likely stands for, or "" if it
// is one of them or like none.
func Nearest(word string, candidates []string) string {
	if slices.Contains(candidates, word) {
		return ""
	}
	return nearest(word, candidates)
}

// nearest answers the candidate that word most likely stands for, or "".
func nearest(word string, candidates []string) string {
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
