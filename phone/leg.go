package phone

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// queueFrames is the audio that waits for a slow reader at most, and frameAge how
	// long each may: what is older than a second is of no use any more.
	queueFrames = 50
	frameAge    = time.Second
	// queueUrgent is how many other messages wait at most. A notification socket
	// that does not take so many is of no use.
	queueUrgent = 64
)

// A leg is one way to a user: one side of a call, or one of his notification
// sockets. It is a queue, which its server, as a rule a WebSocket, empties in a
// goroutine of its own; what comes from the user the server passes to hear.
// Putting something into the queue never waits. Its methods may be called from
// any goroutine.
type leg struct {
	peer atomic.Pointer[leg] // that hears what is heard here; nil before the answer and after the end
	sums *relayed

	// out takes the audio at once, in place of the queue: a SIP phone's leg. It
	// needs nothing else, and nobody empties it.
	out func(*frame)

	wake chan struct{}   // has a token when there is something to take
	over context.Context // ended by end
	stop context.CancelFunc

	mu     sync.Mutex
	urgent [][]byte // before all audio, and never dropped
	audio  [queueFrames]*frame
	first  int // index of the oldest in audio
	count  int // of audio
	ended  bool
}

// relayed counts frames, of all legs.
type relayed struct{ sent, dropped, malformed atomic.Uint64 }

func newLeg(sums *relayed) *leg {
	l := &leg{sums: sums, wake: make(chan struct{}, 1)}
	l.over, l.stop = context.WithCancel(context.Background())
	return l
}

// hear passes a message of audio on to the other side. The frame is not the
// caller's any more.
func (l *leg) hear(f *frame) {
	to := l.peer.Load()
	switch {
	case !isAudio(f.data):
		l.sums.malformed.Add(1)
		f.free()
	case to == nil:
		f.free() // not answered yet
	default:
		to.play(f)
	}
}

// play queues audio. When there is too much the oldest goes.
func (l *leg) play(f *frame) {
	if l.out != nil {
		l.out(f)
		f.free()
		l.sums.sent.Add(1)
		return
	}
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		f.free()
		return
	}
	var old *frame
	if l.count == queueFrames {
		old = l.audio[l.first]
		l.first = (l.first + 1) % queueFrames
		l.count--
	}
	f.at = time.Now()
	l.audio[(l.first+l.count)%queueFrames] = f
	l.count++
	l.mu.Unlock()
	l.ring()
	if old != nil {
		l.sums.dropped.Add(1)
		old.free()
	}
}

// tell queues a message that is never dropped. It returns false when the leg
// has taken none for so long that it is given up, or has ended.
func (l *leg) tell(message []byte) bool {
	if l.out != nil {
		return true
	}
	l.mu.Lock()
	ok := !l.ended && len(l.urgent) < queueUrgent
	if ok {
		l.urgent = append(l.urgent, message)
	}
	l.mu.Unlock()
	if ok {
		l.ring()
	}
	return ok
}

// end ends the leg: what was told is still sent, audio is not.
func (l *leg) end() {
	l.peer.Store(nil)
	l.mu.Lock()
	l.stop() // before anybody sees that it has ended, and closes
	l.ended = true
	for ; l.count > 0; l.count-- {
		l.audio[l.first].free()
		l.audio[l.first] = nil
		l.first = (l.first + 1) % queueFrames
	}
	l.mu.Unlock()
	l.ring()
}

func (l *leg) ring() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be sent next: a message, audio that the caller owns
// now, or neither; ended when nothing more will come.
func (l *leg) take() (message []byte, f *frame, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.urgent) > 0:
		message = l.urgent[0]
		l.urgent[0] = nil
		l.urgent = l.urgent[1:]
	case l.ended:
		return nil, nil, true
	default:
		f = l.fresh(time.Now())
	}
	return message, f, false
}

// fresh takes the oldest audio that is of use. l.mu is held.
func (l *leg) fresh(now time.Time) *frame {
	for l.count > 0 {
		f := l.audio[l.first]
		l.audio[l.first] = nil
		l.first = (l.first + 1) % queueFrames
		l.count--
		if now.Sub(f.at) <= frameAge {
			return f
		}
		f.free()
		l.sums.dropped.Add(1)
	}
	return nil
}
