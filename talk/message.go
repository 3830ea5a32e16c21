package talk

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode"
)

// message is what the signaling server sends. What a type needs is read later
// and apart, so that one field of an unexpected type does not hide the rest.
type message struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Error    json.RawMessage `json:"error"`
	Welcome  json.RawMessage `json:"welcome"`
	Hello    json.RawMessage `json:"hello"`
	Bye      json.RawMessage `json:"bye"`
	Internal json.RawMessage `json:"internal"`
	Control  json.RawMessage `json:"control"`
	Event    json.RawMessage `json:"event"`
	Room     json.RawMessage `json:"room"`
	Message  json.RawMessage `json:"message"`
}

// read reads v from raw and reports whether raw was an object of v's shape.
// What is null or not there is not.
func read(raw json.RawMessage, v any) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && raw[0] == '{' && json.Unmarshal(raw, v) == nil
}

// serverError is the error that a message of type error holds.
func (m *message) serverError() *ServerError {
	var e struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if !read(m.Error, &e) || e.Code == "" {
		return &ServerError{Code: "unknown_error", Message: "an error without code"}
	}
	return &ServerError{Code: printable(e.Code, 64), Message: printable(e.Message, 200)}
}

// printable is what of s may stand in a log: a server may be anybody.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '.'
	}, s[:min(len(s), most)])
	return s
}

// object is a message of ours, or a part of it.
type object map[string]any

// encode is o as JSON. Its values are strings, numbers, structs of ours and
// JSON that was read before, none of which fails.
func encode(o object) []byte {
	data, err := json.Marshal(o)
	if err != nil {
		return []byte("{}")
	}
	return data
}

// internal wraps a message for bridges.
func internal(id, kind string, body any) []byte {
	o := object{"type": "internal", "internal": object{"type": kind, kind: body}}
	if id != "" {
		o["id"] = id
	}
	return encode(o)
}

// helloFor is the hello of a new session.
func helloFor(id, secret, backend string, features []string) []byte {
	random := nonce()
	return encode(object{"id": id, "type": "hello", "hello": object{
		"version": "1.0", "features": features,
		"auth": object{"type": "internal", "params": object{
			"random": random, "token": checksum(secret, random), "backend": backend,
		}},
	}})
}

// nonce is a random of 32 bytes as hex, the least that is taken.
func nonce() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// checksum is the HMAC-SHA256 of what is signed, as lower-case hex: upper case
// is refused.
func checksum(secret string, signed ...string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	for _, s := range signed {
		mac.Write([]byte(s))
	}
	return hex.EncodeToString(mac.Sum(nil))
}
