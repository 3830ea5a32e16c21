package cluster

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strings"
)

// maxName is how long the name of a cluster or a node may be.
const maxName = 64

// newIncarnation returns the id of a node from its start to its fence.
func newIncarnation() string {
	var b [6]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// token returns a name as one token of a subject, or of a stream's name: other characters than letters, digits, - and _ become =XX.
func token(name string) string {
	plain := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	var b strings.Builder
	for i := range len(name) {
		if plain(name[i]) {
			b.WriteByte(name[i])
		} else {
			fmt.Fprintf(&b, "=%02X", name[i])
		}
	}
	return b.String()
}

// untoken returns the name of a token, and whether it is one.
func untoken(t string) (string, bool) {
	if !strings.Contains(t, "=") {
		return t, t != ""
	}
	var b strings.Builder
	for len(t) > 0 {
		if t[0] != '=' {
			b.WriteByte(t[0])
			t = t[1:]
			continue
		}
		if len(t) < 3 {
			return "", false
		}
		c, err := hex.DecodeString(t[1:3])
		if err != nil {
			return "", false
		}
		b.WriteByte(c[0])
		t = t[3:]
	}
	return b.String(), true
}

// keyToken is the name of a key in a subject, whatever is in the key.
func keyToken(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// place says how much of a call's hash falls to which of n heirs.
func place(id string, n int) int {
	h := fnv.New64a()
	h.Write([]byte(id))
	return int(h.Sum64() % uint64(n))
}

// names are the streams and subjects of a cluster.
type names string // its prefix

func (p names) nodes() string                   { return string(p) + "_NODES" }
func (p names) keys() string                    { return string(p) + "_KEYS" }
func (p names) stream(who who) string           { return string(p) + "_N_" + token(who.Node) + "_" + who.E }
func (p names) node(node string) string         { return string(p) + ".node." + token(node) }
func (p names) number(n int) string             { return fmt.Sprintf("%s.number.%d", p, n) }
func (p names) dead(who who) string             { return string(p) + ".dead." + token(who.Node) + "." + who.E }
func (p names) deadAll() string                 { return string(p) + ".dead.*.*" }
func (p names) nodeAll() string                 { return string(p) + ".node.*" }
func (p names) fenceAll() string                { return string(p) + ".c.*.*.fence" }
func (p names) mark() string                    { return string(p) + ".key.mark" }
func (p names) secret() string                  { return string(p) + ".secret" }
func (p names) key(key string) string           { return string(p) + ".key." + keyToken(key) }
func (p names) id(id string) string             { return string(p) + ".id." + token(id) }
func (p names) record(id string) string         { return string(p) + ".rec." + token(id) }
func (p names) calls(who who) string            { return string(p) + ".c." + token(who.Node) + "." + who.E }
func (p names) state(who who, id string) string { return p.calls(who) + ".s." + token(id) }
func (p names) fence(who who) string            { return p.calls(who) + ".fence" }
func (p names) tick(who who) string             { return p.calls(who) + ".tick" }
func (p names) ask(node string) string          { return string(p) + ".ask." + token(node) }
func (p names) gossip(topic string) string      { return string(p) + ".gossip." + token(topic) }

// who is one incarnation of a node.
type who struct {
	Node string `json:"node"`
	E    string `json:"e"`
}

func (w who) String() string { return w.Node + "/" + w.E }

// valid reports whether it may be one: others say who they are, and that becomes a part of subjects.
func (w who) valid() bool {
	return w.Node != "" && len(w.Node) <= maxName && w.E != "" && len(w.E) <= maxName && token(w.E) == w.E
}
