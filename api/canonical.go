package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"strings"
)

// canonical returns a JSON value in one form for all ways to write it: members in the
// order of their names, no blanks, numbers as short as they can be.
func canonical(value []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(shortNumbers(v))
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}

// shortNumbers replaces the numbers in v by those that are written in one way.
func shortNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			v[k] = shortNumbers(item)
		}
	case []any:
		for i, item := range v {
			v[i] = shortNumbers(item)
		}
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			return v // it may have more digits than a float keeps
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
	}
	return v
}

// fingerprint tells whether two requests ask for the same: by what they are about, for
// whom, and their bodies in one form.
func fingerprint(what, agent string, body []byte) (sum [sha256.Size]byte) {
	form, err := canonical(body)
	if err != nil { // it is empty
		form = nil
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(what), []byte(agent), form} {
		h.Write(part)
		h.Write([]byte{0})
	}
	h.Sum(sum[:0])
	return sum
}
