package event

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Stream is the one order of events that the nodes of a cluster have in common. It
// keeps a record under a name once: what is there already is refused.
type Stream interface {
	// Name tells streams apart, for ever: six characters of [0-9a-z]. All nodes of a
	// cluster have the same one.
	Name() string
	// Attach says how the stream is. Where there is none it makes one, whose numbers
	// begin behind last.
	Attach(ctx context.Context, last int64) (StreamState, error)
	// Publish adds records in their order, all or none. It returns ErrTaken where one of
	// the names is taken, and may return any other error though they were added.
	Publish(ctx context.Context, list []StreamRecord) error
	// Follow has take get all records after a number, in their order, until ctx ends or
	// an error comes. It begins each time with what it is asked for.
	Follow(ctx context.Context, after int64, take func(seq int64, r StreamRecord)) error
}

// A StreamRecord is one event on its way. Its name is two tokens, "C.n".
type StreamRecord struct {
	Name string
	Data []byte
}

// StreamState is how a stream is. A stream that was lost and made anew is another run.
type StreamState struct {
	Run         Run
	First, Last int64 // numbers of the oldest record and the newest one; Last is below First where there is none
}

// Errors of streams.
var (
	ErrTaken    = errors.New("an event of that name is in the stream already")
	ErrNoStream = errors.New("the stream of events is gone")
)

// maxStreamBatch bounds what is published at once: a batch of JetStream has a thousand.
const maxStreamBatch = 500

// wireEvent is an event as a stream has it.
type wireEvent struct {
	Writer string          `json:"w"` // "<node>/<process>"
	Epoch  uint32          `json:"e,omitempty"`
	Call   string          `json:"c,omitempty"`
	Seq    int64           `json:"n,omitempty"` // of the call
	Type   Type            `json:"t"`
	At     int64           `json:"at"` // ms since 1970
	Leg    string          `json:"leg,omitempty"`
	Change *Change         `json:"ch"`
	After  json.RawMessage `json:"after,omitempty"` // the call after it: see outgoing.base
	Key    *wireKey        `json:"key,omitempty"`
}

type wireKey struct {
	Principal string `json:"p"`
	Key       string `json:"k"`
	Hash      string `json:"h"`
	Until     int64  `json:"u"`
}

// recordName is what the n-th event of a call is called.
func recordName(call string, n int64) string {
	return streamToken(call) + "." + strconv.FormatInt(n, 10)
}

// streamToken is a call's id as a token of a subject, which it is mostly.
func streamToken(id string) string {
	plain := id != "" && len(id) <= 100 && id[0] != '=' && id[0] != '_'
	for i := 0; plain && i < len(id); i++ {
		c := id[i]
		plain = c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	if plain {
		return id
	}
	if len(id) > 100 {
		id = callHook(id) // a name of its own; the id is in the record
	}
	return "=" + hex.EncodeToString([]byte(id))
}

// encodeEvent is an event as a stream has it. base has the call go with it.
func encodeEvent(e *Event, writer string, epoch uint32, base bool) ([]byte, error) {
	m := wireEvent{Writer: writer, Epoch: epoch, Seq: e.CallSeq, Type: e.Type, At: e.Timestamp.UnixMilli(), Leg: e.Data.Leg, Change: e.Data.Change}
	if e.Data.CallID != nil {
		m.Call = *e.Data.CallID
	}
	if k := e.key; k != nil {
		m.Key = &wireKey{k.Principal, k.Key, hex.EncodeToString(k.Hash[:]), k.Until.UnixMilli()}
	}
	if base && e.Data.Call != nil {
		text, err := callText(e.Data.Call)
		if err != nil {
			return nil, err
		}
		m.After = json.RawMessage(text)
	}
	return json.Marshal(&m)
}

// decodeEvent reads what encodeEvent wrote. The event has no number yet and, mostly,
// no call.
func decodeEvent(data []byte) (m *wireEvent, e *Event, err error) {
	m = &wireEvent{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, nil, err
	}
	if m.Type == "" || m.Writer == "" || m.Call != "" && m.Seq < 1 {
		return nil, nil, errors.New("an event without a type, a writer or a number")
	}
	if m.Change == nil {
		m.Change = &Change{}
	}
	e = &Event{Type: m.Type, Timestamp: At(time.UnixMilli(m.At)), Final: m.Type == CallEnded, Data: Data{Leg: m.Leg, Change: m.Change}}
	if m.Call == "" {
		return m, e, nil
	}
	e.CallSeq, e.Data.CallID = m.Seq, &m.Call
	if len(m.After) > 0 {
		if e.Data.Call, err = readCall(string(m.After)); err != nil {
			return nil, nil, fmt.Errorf("event %d of call %s: %w", m.Seq, m.Call, err)
		}
		e.Data.Call.updated = e.Timestamp
	}
	if k := m.Key; k != nil {
		e.key = &IdempotencyKey{Principal: k.Principal, Key: k.Key, Until: time.UnixMilli(k.Until)}
		if _, err := hex.Decode(e.key.Hash[:], []byte(k.Hash[:min(len(k.Hash), 2*len(e.key.Hash))])); err != nil {
			return nil, nil, err
		}
	}
	return m, e, nil
}

// nodeOf is the node that a writer is of.
func nodeOf(writer string) string {
	node, _, _ := strings.Cut(writer, "/")
	return node
}
