package sipflow

import (
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"

	"sipxrest/sipflow/transport"
)

// numShards divides the tables so that the goroutines that read the sockets,
// run the calls and fire the timers seldom meet at a lock.
const numShards = 16

// shard holds the transactions and dialogs whose ids end in its number. A
// leg's transactions live in its own shard.
type shard struct {
	start  time.Time
	faults *transport.Faults

	mu      sync.Mutex // guards what follows; taken before a leg's own
	clients map[uint64]*clientTx
	legs    map[uint64]*Leg  // by local tag
	husks   map[uint64]*husk // by local tag
	inbound map[uint64]*inboundTx
	ended   ended
	lists   [len(delays)]timerList
	closed  bool
	stats   shardStats
}

func (s *shard) init(f *transport.Faults) {
	s.start, s.faults = time.Now(), f
	s.clients = map[uint64]*clientTx{}
	s.legs = map[uint64]*Leg{}
	s.husks = map[uint64]*husk{}
	s.inbound = map[uint64]*inboundTx{}
	s.ended.init()
	for i := range s.lists {
		s.lists[i].shard, s.lists[i].delay = s, delays[i]
	}
}

func (s *shard) now() time.Duration { return time.Since(s.start) }

// close stops every timer and forgets everything. Everyone who waits for a
// response learns that there will be none.
func (s *shard) close() {
	s.mu.Lock()
	for _, tx := range s.clients {
		tx.timer.stop()
		defer tx.tell(event{err: ErrStopped}, true)
	}
	defer s.mu.Unlock() // before anybody is told
	s.closed = true
	for _, h := range s.husks {
		h.timer.stop()
		s.faults.Try("the end of a call", h.over)
	}
	for i := range s.lists {
		if a := s.lists[i].alarm; a != nil {
			a.Stop()
		}
	}
	for _, e := range s.inbound {
		e.timer.stop()
	}
	s.clients, s.legs, s.husks, s.inbound = nil, nil, nil, nil
	s.ended.sweep.stop()
	s.ended.dialogs, s.ended.invites, s.ended.queue, s.ended.rights = nil, nil, nil, rights{}
}

// newID draws the random part of a tag, branch or Call-ID: 64 bits of the
// runtime's ChaCha8 generator. RFC 3261 §19.3 asks for 32; with 64 nobody
// forges a response without seeing the request.
func newID() uint64 { return rand.Uint64() }

func appendID(b []byte, id uint64) []byte {
	var raw [8]byte
	for i := range raw {
		raw[i] = byte(id >> (56 - 8*i))
	}
	return hex.AppendEncode(b, raw[:])
}

// parseID reads 16 lower-case hexadecimal digits.
func parseID(b []byte) (id uint64, ok bool) {
	if len(b) != 16 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			id = id<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			id = id<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return id, true
}
