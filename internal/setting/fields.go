package setting

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"sipxrest/internal/fault"

	"go.yaml.in/yaml/v4"
)

// Words reads a mapping of words to words, such as example.
func Words(p *map[string]string, example string) Field {
	return Field{At: p, List: true, Set: func(v Value) error {
		if v.Node.Kind != yaml.MappingNode {
			return errors.New("names are expected here, such as " + example)
		}
		m := map[string]string{}
		for i := 0; i+1 < len(v.Node.Content); i += 2 {
			k := v.Node.Content[i]
			s, err := Scalar(v.Node.Content[i+1])
			if err != nil {
				return &fault.Fault{Line: k.Line, Err: fmt.Errorf("%.64s: %w", k.Value, err)}
			}
			if _, twice := m[k.Value]; twice {
				return &fault.Fault{Line: k.Line, Err: fmt.Errorf("%.64s is there twice", k.Value)}
			}
			m[k.Value] = s
		}
		*p = m
		return nil
	}}
}

// A Key is one setting by its dotted name. The table of keys drives the file,
// the environment and the flags alike, so that none of them knows a key that
// the others do not.
type Key struct {
	Name string
	Field
}

// A Field is what a key sets.
type Field struct {
	At   any  // points to it
	List bool // the value may be YAML text, not only plain text
	// Null has Set told of a key with nothing behind it, which else means the default.
	Null bool
	Set  func(v Value) error
}

// A Value is what a key is to be set to.
type Value struct {
	Node *yaml.Node
	Dir  string // relative paths start here
}

// Scalar returns a single value as it is written; nothing at all is "".
func Scalar(n *yaml.Node) (string, error) {
	if n = Follow(n); n.Kind != yaml.ScalarNode {
		return "", errors.New("one value is expected here, not a list or a section")
	}
	if n.Tag == "!!null" {
		return "", nil
	}
	return n.Value, nil
}

// Text reads a single value.
func Text(p *string) Field {
	return Field{At: p, Set: func(v Value) error {
		s, err := Scalar(v.Node)
		if err == nil {
			*p = s
		}
		return err
	}}
}

// Path reads a file name; a relative one starts at the configuration's folder.
func Path(p *string) Field {
	return Field{At: p, Set: func(v Value) error {
		s, err := Scalar(v.Node)
		if err == nil {
			*p = from(v.Dir, s)
		}
		return err
	}}
}

func from(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// Texts reads a list; a single value is a list of one.
func Texts(p *[]string) Field {
	return Field{At: p, List: true, Set: func(v Value) error {
		items := []*yaml.Node{v.Node}
		if v.Node.Kind == yaml.SequenceNode {
			items = v.Node.Content
		}
		list := make([]string, 0, len(items))
		for _, item := range items {
			s, err := Scalar(item)
			if err != nil {
				return &fault.Fault{Line: item.Line, Err: errors.New("a list of plain values is expected here, such as [a, b]")}
			}
			list = append(list, s)
		}
		*p = list
		return nil
	}}
}

// Paths reads a list of file names, see path.
func Paths(p *[]string) Field {
	return Field{At: p, List: true, Set: func(v Value) error {
		if err := Texts(p).Set(v); err != nil {
			return err
		}
		for i, name := range *p {
			(*p)[i] = from(v.Dir, name)
		}
		return nil
	}}
}

// PathsOrURLs is Paths, but for items that are URLs.
func PathsOrURLs(p *[]string, isURL func(string) bool) Field {
	return Field{At: p, List: true, Set: func(v Value) error {
		if err := Texts(p).Set(v); err != nil {
			return err
		}
		for i, name := range *p {
			if !isURL(name) {
				(*p)[i] = from(v.Dir, name)
			}
		}
		return nil
	}}
}

// Truth reads true or false.
func Truth(p *bool) Field {
	return Field{At: p, Set: func(v Value) error {
		switch s, _ := Scalar(v.Node); s {
		case "true":
			*p = true
		case "false":
			*p = false
		default:
			return fmt.Errorf("%q is neither true nor false", s)
		}
		return nil
	}}
}

// Word reads one of two words.
func Word(p *bool, yes, no string) Field {
	return Field{At: p, Set: func(v Value) error {
		s, err := Scalar(v.Node)
		switch {
		case err != nil:
			return err
		case s != yes && s != no:
			return fmt.Errorf("%.40q is unknown: write %s or %s", s, yes, no)
		}
		*p = s == yes
		return nil
	}}
}

// Number reads a whole number.
func Number(p *int) Field {
	return Field{At: p, Set: func(v Value) error {
		s, err := Scalar(v.Node)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		*p = n
		return nil
	}}
}

// Share reads a number from 0 to 1.
func Share(p *float64) Field {
	return Field{At: p, Set: func(v Value) error {
		s, err := Scalar(v.Node)
		if err != nil {
			return err
		}
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n >= 0 && n <= 1) {
			return fmt.Errorf("%q is not a share: write a number from 0 to 1, such as 0.1 for a tenth", s)
		}
		*p = n
		return nil
	}}
}

// Duration reads a time with its unit.
func Duration(p *time.Duration) Field {
	return Field{At: p, Set: func(v Value) error {
		s, err := Scalar(v.Node)
		if err != nil {
			return err
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			if _, e := strconv.ParseFloat(s, 64); e == nil {
				return fmt.Errorf("%s needs a unit: write %ss for seconds, or %sm for minutes", s, s, s)
			}
			return fmt.Errorf("%q is not a time: write 30s, 3m or 1h", s)
		}
		*p = d
		return nil
	}}
}
