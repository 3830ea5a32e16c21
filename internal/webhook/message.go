package webhook

import (
	"bytes"
	"encoding/json"
	"net/url"
)

// A Message is a flat object in the order of its fields.
type Message struct {
	names  []string
	values []any // text, number, truth, json.RawMessage or map of texts
}

// Add adds a field. Its value is a text, number, truth, json.RawMessage or map of
// texts.
func (m *Message) Add(name string, value any) {
	m.names, m.values = append(m.names, name), append(m.values, value)
}

// AddText adds a text, but leaves an empty one out.
// Add adds a field. Its value is a text, number, truth, json.RawMessage or map of
// texts.
func (m *Message) AddText(name, value string) {
	if value != "" {
		m.Add(name, value)
	}
}

// JSON returns the message as a JSON object.
func (m *Message) JSON() []byte {
	var b bytes.Buffer
	for i, name := range m.names {
		b.WriteByte("{,"[min(i, 1)])
		key, _ := json.Marshal(name)
		value, err := json.Marshal(m.values[i])
		if err != nil {
			value = []byte("null")
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// Query returns the message as the query of a GET, after what the URL has.
func (m *Message) Query(before string) string {
	q := url.Values{}
	for i, name := range m.names {
		switch v := m.values[i].(type) {
		case string:
			q.Set(name, v)
		default:
			data, _ := json.Marshal(v)
			q.Set(name, string(data))
		}
	}
	if before != "" {
		return before + "&" + q.Encode()
	}
	return q.Encode()
}
