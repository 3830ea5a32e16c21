package cluster

import (
	"sync"
	"time"
)

const (
	// maxRoom is how many bytes a node has in the store for calls that are over, and for what Once keeps. When the store is full no node
	// takes calls any more, and clients may have results kept for a day.
	maxRoom = 256 << 20
	// entryBytes is what is kept of a call beside its record, about: entries of its id and its keys.
	entryBytes = 1 << 10
	// smallRecord is how large a record may be that is kept for a minute though there is no room.
	smallRecord = 4 << 10
	// onceBytes is what one thing takes that Once keeps, about, and onceKeep how long it stays where there is no room.
	onceBytes = 512
	onceKeep  = 10 * time.Minute
)

// A room is how much of what this node has stored is still there: by the minute in which it goes.
type room struct {
	base time.Time // monotonic

	mu   sync.Mutex
	most int
	used int
	goes map[int64]int // bytes by minutes after base
	seen int64         // those before are over
}

func (r *room) init() { r.base, r.most, r.goes = time.Now(), maxRoom, map[int64]int{} }

// take reports whether there is room for so many bytes for that long, and takes it.
func (r *room) take(bytes int, keep time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Since(r.base)
	for minute := int64(now / time.Minute); r.seen < minute; r.seen++ {
		r.used -= r.goes[r.seen]
		delete(r.goes, r.seen)
	}
	if r.used+bytes > r.most {
		return false
	}
	r.used += bytes
	r.goes[int64((now+keep)/time.Minute)] += bytes
	return true
}

// fit is what is kept of a call that is over, and for how long: less where there is no room.
func (n *Node) fit(record []byte, keep time.Duration) ([]byte, time.Duration) {
	if n.room.take(entryBytes+len(record), keep) {
		return record, keep
	}
	if n.count.early.Add(1) == 1 {
		n.log.Warn("cluster: there is no room in the store for more results of calls, so they go after a minute", "bytes", maxRoom)
	}
	if len(record) > smallRecord {
		record = nil
	}
	return record, minKeep
}
