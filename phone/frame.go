package phone

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// maxMessage is the bytes of a message at most, those of its frames together.
	maxMessage = 16384
	// smallFrame is the bytes of a buffer that most audio fits in: 20 ms at
	// 16 kHz are 644 bytes, 60 ms are 1,924.
	smallFrame = 2048
)

// A frame is one message of audio: the number of samples and the samples, all
// little-endian. It has one owner: a reader, a queue, a writer.
type frame struct {
	data []byte    // the message
	room []byte    // what data is part of
	at   time.Time // when it came into the queue that it waits in
}

var smallFrames = sync.Pool{New: func() any { return &frame{room: make([]byte, smallFrame)} }}

// newFrame returns an empty frame from the pool.
func newFrame() *frame { return smallFrames.Get().(*frame) }

// free gives the frame back. Nobody may use it afterwards.
func (f *frame) free() {
	f.data = nil
	if len(f.room) == smallFrame {
		smallFrames.Put(f)
	}
}

// errTooLong says that a message has more than maxMessage bytes.
var errTooLong = errors.New("the message is too long")

// read fills the frame with what r has until its end.
func (f *frame) read(r io.Reader) error {
	n := 0
	for {
		if n == len(f.room) {
			if n > maxMessage {
				return errTooLong
			}
			// Rare: the buffer is given up to the garbage collector later.
			room := make([]byte, maxMessage+1)
			copy(room, f.room)
			f.room = room
		}
		m, err := r.Read(f.room[n:])
		n += m
		switch {
		case errors.Is(err, io.EOF):
			f.data = f.room[:n]
			return nil
		case err != nil:
			return err
		}
	}
}

// isAudio reports whether a message is as long as the samples that it
// announces: a client reads past its end otherwise.
func isAudio(message []byte) bool {
	if len(message) < 4 || len(message) > maxMessage {
		return false
	}
	return uint64(len(message)-4) == 2*uint64(binary.LittleEndian.Uint32(message))
}
