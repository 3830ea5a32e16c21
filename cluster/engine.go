package cluster

import (
	"context"
	"errors"
	"time"
)

// What an engine's methods return beside errors of its own. Of any other error nobody knows whether the write was committed.
var (
	// ErrConflict: a condition was not met, so nothing was written.
	ErrConflict = errors.New("cluster: the store refused a write, for another came before it")
	// ErrNone: there is no message at the subject.
	ErrNone = errors.New("cluster: there is none")
	// ErrNoStream: there is no such stream.
	ErrNoStream = errors.New("cluster: there is no such stream")
	// ErrNobody: nobody answers at that subject.
	ErrNobody = errors.New("cluster: nobody answers there")
)

// An Engine is the store, and the way to the other nodes. Its methods may be called by several goroutines at once.
//
// A stream keeps the last message of each subject, and counts all its messages: each gets the next sequence number. Functions that are
// given to an engine are called one at a time for each Watch and each Answer, in the order of the messages. They return at once.
type Engine interface {
	// Ensure makes a stream, unless it is there.
	Ensure(ctx context.Context, s Stream) error
	// Delete removes a stream with all its messages; that there is none is no error.
	Delete(ctx context.Context, stream string) error

	// Put writes without an answer, and keeps data only as a copy. What one node puts and commits to a stream arrives in that order, or
	// not at all. Without data it says that nothing follows at this subject: the engine removes the message EmptyLife later.
	Put(stream, subject string, data []byte) error
	// Commit writes all of a batch or nothing, if all conditions are met, and returns the sequence of its last message. A batch has at
	// most MaxBatch writes. A condition is on a subject of the same stream; there are at most as many as writes, one for each
	// subject. ErrConflict and ErrNoStream mean that nothing was written.
	Commit(ctx context.Context, stream string, batch []Write, conds ...Cond) (seq uint64, err error)
	// Last returns the last message of a subject, as the stream's leader has it. ErrNone, ErrNoStream. An emptied subject has an entry
	// without data for a while.
	Last(ctx context.Context, stream, subject string) (Entry, error)
	// Sweep calls each for the last message of every subject that matches the filter, emptied ones too. It returns how many such
	// subjects there are by the leader's own count, which may be more than it has found. ErrNoStream.
	Sweep(ctx context.Context, stream, filter string, each func(Entry)) (count int, err error)

	// Ask sends a request and returns the answer. ErrNobody at once when nobody listens there.
	Ask(ctx context.Context, subject string, data []byte) ([]byte, error)
	// Answer has f called for each request. f returns at once; it or another goroutine calls reply once.
	Answer(subject string, f func(data []byte, reply func([]byte))) (stop func())
	// Tell sends a message to those who listen now.
	Tell(subject string, data []byte) error
	// Watch has f called for each message at matching subjects: told, put, or tried to be committed, also by this node, and also when
	// the store has refused it. f keeps data only as a copy.
	Watch(subject string, f func(subject string, data []byte)) (stop func())

	// Close ends all that the engine does. Nothing is called after it has returned.
	Close() error
}

const (
	// MaxBatch is how many messages are committed at once.
	MaxBatch = 512
	// EmptyLife is how long a subject is seen that was emptied.
	EmptyLife = time.Minute
	// MaxState is how large the state of a call may be, or its record.
	MaxState = 64 << 10
	// MaxStored is how large it is at most with what is stored beside it: an engine takes that much.
	MaxStored = MaxState + maxKeys*maxKey + 1<<10
)

// A Stream is what Ensure makes. It keeps one message for each subject, in files, and allows a time to live of single messages.
type Stream struct {
	Name     string
	Subjects []string      // with wildcards, as NATS has them: * is one token, > is all that follow
	MaxAge   time.Duration // messages that are older go
	Replicas int           // 0: as many as the engine finds right
	Own      bool          // written by this node alone: its leader should not be on this node's machine
}

// A Write is one message of a batch.
type Write struct {
	Subject string
	Data    []byte        // none: nothing follows at the subject
	TTL     time.Duration // after which it goes, at least a second; 0: it stays as long as the stream lets it
}

// A Cond is met if the last message of a subject has that sequence. 0: there is none.
type Cond struct {
	Subject string
	Last    uint64
}

// An Entry is a message as it is stored.
type Entry struct {
	Subject string
	Data    []byte
	Seq     uint64
	Time    time.Time // by the store's clock: good for showing an age, and nothing is decided by it
}
