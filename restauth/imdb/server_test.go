package imdb

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/bson"
)

// A server speaks enough of MongoDB's protocol for a reader, over pipes. It is one
// of release 3.6, the oldest that the driver takes.
type server struct {
	t       *testing.T
	replica bool // of a replica set, which tells of changes

	mu      sync.Mutex
	docs    []any
	down    bool          // connections are refused
	refused string        // what every command gets; "": it is done
	changed chan struct{} // closed when docs change
	version int           // of docs
	told    int           // the version that the change stream has told
	finds   int
	filter  bson.Raw // of the last find
	fields  bson.Raw
}

const serverAddress = "db.test:27017"

func newServer(t *testing.T, docs ...any) *server {
	return &server{t: t, docs: docs, changed: make(chan struct{})}
}

// database is one on the server.
func (s *server) database() *Database {
	const preference = "/?readPreference=nearest&readPreferenceTags=clusterId:1;readPreferenceTags=shardId:0;readPreferenceTags="
	d, err := Open("mongodb://reader:s3cret%40pass@" + serverAddress + preference)
	if err != nil {
		s.t.Fatal(err)
	}
	// The URL is as sipXconfig writes it. These servers ask for no password.
	d.url = "mongodb://" + serverAddress + preference
	d.dial = s
	return d
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *server) setDocs(docs ...any) {
	s.set(func() {
		s.docs = docs
		s.version++
		close(s.changed)
		s.changed = make(chan struct{})
	})
}

// DialContext implements options.ContextDialer.
func (s *server) DialContext(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	go s.serve(theirs)
	return ours, nil
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	for {
		head := make([]byte, 16)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		body := make([]byte, binary.LittleEndian.Uint32(head)-16)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		s.mu.Lock()
		down := s.down
		s.mu.Unlock()
		if down {
			return
		}
		legacy := binary.LittleEndian.Uint32(head[12:]) == 2004 // OP_QUERY, the first hello
		at := 5                                                 // flags, kind of the section
		if legacy {
			at = 4
			for body[at] != 0 {
				at++
			}
			at += 9
		}
		size := binary.LittleEndian.Uint32(body[at:])
		reply, err := bson.Marshal(s.answer(bson.Raw(body[at : at+int(size)])))
		if err != nil {
			s.t.Error(err)
			return
		}
		var out []byte
		code := uint32(2013)
		if legacy {
			code = 1
			out = append(make([]byte, 16), 1, 0, 0, 0)
		} else {
			out = make([]byte, 5)
		}
		out = append(out, reply...)
		msg := binary.LittleEndian.AppendUint32(nil, uint32(16+len(out)))
		msg = append(msg, 1, 0, 0, 0)
		msg = append(msg, head[4:8]...)
		msg = binary.LittleEndian.AppendUint32(msg, code)
		if _, err := conn.Write(append(msg, out...)); err != nil {
			return
		}
	}
}

func (s *server) answer(cmd bson.Raw) any {
	first, _ := cmd.IndexErr(0)
	s.mu.Lock()
	changed, refused := s.changed, s.refused
	s.mu.Unlock()
	switch name := first.Key(); name {
	case "hello", "isMaster", "ismaster":
		hello := bson.M{"ok": 1, "ismaster": true, "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 1000,
			"minWireVersion": 0, "maxWireVersion": 6}
		if s.replica {
			hello["setName"], hello["hosts"], hello["me"] = "sipxecs", []string{serverAddress}, serverAddress
		}
		return hello
	case "find":
		s.mu.Lock()
		defer s.mu.Unlock()
		if refused != "" {
			return bson.M{"ok": 0, "code": 13, "codeName": "Unauthorized", "errmsg": refused}
		}
		s.finds++
		s.filter, s.fields = cmd.Lookup("filter").Document(), cmd.Lookup("projection").Document()
		return bson.M{"ok": 1, "cursor": bson.M{"id": int64(0), "ns": "imdb.entity", "firstBatch": append([]any{}, s.docs...)}}
	case "aggregate":
		if !s.replica {
			return bson.M{"ok": 0, "code": 40573, "errmsg": "The $changeStream stage is only supported on replica sets"}
		}
		s.set(func() { s.told = s.version })
		return bson.M{"ok": 1, "cursor": bson.M{"id": int64(7), "ns": "imdb.entity", "firstBatch": bson.A{}}}
	case "getMore":
		select {
		case <-changed:
		case <-time.After(time.Second):
		}
		batch := bson.A{}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.told != s.version {
			s.told = s.version
			batch = bson.A{bson.M{"_id": bson.M{"_data": "x"}, "operationType": "update"}}
		}
		return bson.M{"ok": 1, "cursor": bson.M{"id": int64(7), "ns": "imdb.entity", "nextBatch": batch}}
	default:
		return bson.M{"ok": 1}
	}
}
