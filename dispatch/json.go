package dispatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sipxrest/internal/webhook"
)

const (
	// maxDepth bounds how deep a response's values are nested.
	maxDepth = 32
	// maxFields bounds how many a response has.
	maxFields = 1000
)

// fields are those of a JSON object by their plain names, see plain.
type fields map[string]json.RawMessage

// synonyms are fields that go by another name, too.
var synonyms = map[string]string{"action": "dispatchaction"}

// plain is the name of a field in every way to write it: dispatch_action,
// dispatchAction, DISPATCH-ACTION.
func plain(name string) string {
	name = strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
	if other, ok := synonyms[name]; ok {
		return other
	}
	return name
}

// readFields takes a JSON object apart. A field that is there twice must have
// one value: readers differ in which of two they take. A null is no value.
func readFields(data []byte) (fields, error) {
	switch {
	case len(data) > webhook.MaxAnswer:
		return nil, fmt.Errorf("longer than %d bytes", webhook.MaxAnswer)
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("empty: a JSON object is expected")
	case !utf8.Valid(data):
		return nil, errors.New("not UTF-8")
	}
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	} else if t != json.Delim('{') {
		return nil, errors.New("a JSON object is expected")
	}
	f := fields{}
	for n := 0; d.More(); n++ {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		name, _ := t.(string)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		if n >= maxFields {
			return nil, fmt.Errorf("more than %d fields", maxFields)
		}
		if string(value) == "null" {
			continue
		}
		key := plain(name)
		if before, twice := f[key]; twice && known[key] && !bytes.Equal(before, value) {
			return nil, fmt.Errorf("%.64s: there twice, with different values", name)
		}
		f[key] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return f, nil
}

// checkDepth refuses what is nested too deep before anything looks into it.
func checkDepth(data []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted:
			switch c {
			case '\\':
				i++
			case '"':
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested deeper than %d", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// text is the value of a field that is a text; "" if it is not there.
func (f fields) text(key, name string) (string, error) {
	raw, ok := f[key]
	if !ok {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("%s: a text is expected, not %.40s", name, raw)
	}
	return s, nil
}

// loose is the value of a field as text, whatever it is.
func (f fields) loose(key string) string {
	raw := f[key]
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		_ = json.Unmarshal(raw, &s)
		return s
	}
	return compact(raw)
}

func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return ""
	}
	return b.String()
}

// scalarText is a text or a number as text.
func (f fields) scalarText(key, name string) (string, error) {
	raw, ok := f[key]
	if !ok {
		return "", nil
	}
	if c := raw[0]; c == '-' || '0' <= c && c <= '9' {
		return string(raw), nil
	}
	return f.text(key, name)
}

// texts is the value of a field that is a mapping of names to texts.
func (f fields) texts(key, name string) (map[string]string, error) {
	raw, ok := f[key]
	if !ok {
		return nil, nil
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("%s: names with texts are expected, not %.40s", name, raw)
	}
	out := make(map[string]string, len(values))
	for k, v := range values {
		out[k] = fields{"": v}.loose("")
	}
	return out, nil
}

// span is the value of a field that is a time: seconds as a number (30), as a
// text ("30"), or with a unit ("30s"); 0 if it is not there.
func (f fields) span(key, name string, least, most time.Duration) (time.Duration, error) {
	s, err := f.scalarText(key, name)
	if err != nil || s == "" {
		return 0, err
	}
	return parseSpan(s, name, least, most)
}

func parseSpan(s, name string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if seconds, numErr := strconv.ParseFloat(s, 64); numErr == nil {
		if math.IsNaN(seconds) || math.Abs(seconds) > 1e6 {
			return 0, fmt.Errorf("%s: %.40s is not between %v and %v", name, s, least, most)
		}
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s: %.40q is not a time: write 30 or \"30s\"", name, s)
	case d == 0:
		return 0, nil
	case d < least || d > most:
		return 0, fmt.Errorf("%s: %.40s is not between %v and %v", name, s, least, most)
	}
	return d, nil
}
