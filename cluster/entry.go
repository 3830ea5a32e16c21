package cluster

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// What a node says of itself in a nodeEntry.
const (
	nodeLive     = "live"
	nodeDraining = "draining"
	nodeFenced   = "fenced"
	nodeGone     = "gone"
)

// A nodeEntry is a renewal: what the others know of a node.
type nodeEntry struct {
	who
	State     string   `json:"state"`
	Beat      uint64   `json:"beat"` // one more each time
	Number    int      `json:"number"`
	Version   string   `json:"version,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Files     string   `json:"files,omitempty"`
	Capacity  int      `json:"capacity,omitempty"`
}

// A fenceEntry ends an incarnation, and says who inherits its calls.
type fenceEntry struct {
	who          // who is fenced
	By    string `json:"by"`
	Why   string `json:"why"`
	Heirs []who  `json:"heirs"` // sorted by name
}

// readable reports whether a fence can be acted on.
func (f *fenceEntry) readable() bool {
	return f.valid() && len(f.Heirs) > 0 && !slices.ContainsFunc(f.Heirs, func(h who) bool { return !h.valid() })
}

// A keyEntry says which call has a key, or which node has a call.
type keyEntry struct {
	who
	ID   string   `json:"id"`
	Keys []string `json:"keys,omitempty"` // of the call, the newest first; only at its id
	Over bool     `json:"over,omitempty"`
}

// A numberEntry says whose number it is.
type numberEntry struct {
	Node string `json:"node"`
}

// A secretEntry is what nodes sign with.
type secretEntry struct {
	Keys [][]byte `json:"keys"` // the newest first
	Made int64    `json:"made"` // Unix time: a wrong clock only changes when the next is made
}

// marshal encodes an entry. These types have nothing that cannot be encoded.
func marshal(entry any) []byte {
	b, _ := json.Marshal(entry)
	return b
}

// unmarshal decodes an entry. An emptied subject has none.
func unmarshal[T any](e Entry) (out T, err error) {
	if len(e.Data) == 0 {
		return out, ErrNone
	}
	err = json.Unmarshal(e.Data, &out)
	return out, err
}

// A stored state: version, epoch, keys, and what the owner of the call wrote.
const storedVersion = 1

var errStored = errors.New("cluster: a stored state cannot be read")

const (
	// maxKeys is how many keys of a call are known: after transfers it has several.
	maxKeys = 5
	// maxKey is how long a key may be as it is stored.
	maxKey = 1 << 10
)

// short is a key as it is stored. Callers choose their names: a longer one would not fit beside a state, and JSON has no other characters.
func short(key string) string {
	if len(key) <= maxKey && utf8.ValidString(key) {
		return key
	}
	return strings.ToValidUTF8(key[:min(len(key), maxKey/2)], "?") + "..." + keyToken(key)
}

type stored struct {
	epoch uint32
	keys  []string
	state []byte
}

// appendStored encodes a state with what this package needs to know of the call.
func appendStored(dst []byte, epoch uint32, keys []string, state []byte) []byte {
	dst = append(dst, storedVersion)
	dst = binary.BigEndian.AppendUint32(dst, epoch)
	dst = append(dst, byte(len(keys)))
	for _, k := range keys {
		dst = binary.AppendUvarint(dst, uint64(len(k)))
		dst = append(dst, k...)
	}
	return append(dst, state...)
}

func parseStored(data []byte) (s stored, err error) {
	if len(data) < 6 || data[0] != storedVersion || data[5] > maxKeys {
		return s, errStored
	}
	s.epoch = binary.BigEndian.Uint32(data[1:])
	keys, rest := int(data[5]), data[6:]
	for range keys {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return s, errStored
		}
		s.keys = append(s.keys, string(rest[n:n+int(size)]))
		rest = rest[n+int(size):]
	}
	s.state = rest
	return s, nil
}
