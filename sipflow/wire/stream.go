package wire

import (
	"bufio"
	"errors"
	"io"
)

// ErrFraming ends a connection: where the next message starts cannot be known
// any more (RFC 3261 §18.3).
var ErrFraming = errors.New("cannot tell where the message ends")

// ReadMessage reads one message from a stream connection, framed by
// Content-Length (RFC 3261 §18.3), and parses it as Parse does; a *ParseError
// leaves the stream at the next message, any other error ends it. ping is
// called for each double CRLF that asks for a pong (RFC 5626 §3.5.1); an error
// of it ends the stream.
func ReadMessage(r *bufio.Reader, ping func() error) (*Message, error) {
	head, err := readHead(r, ping)
	if err != nil {
		return nil, err
	}
	n, err := contentLength(head)
	if err != nil {
		m, perr := Parse(head)
		if perr == nil {
			perr = bad("Missing Content-Length")
		}
		return m, errors.Join(perr, ErrFraming)
	}
	if len(head)+n > MaxMessage {
		m, _ := Parse(head)
		return m, errors.Join(&ParseError{513, "Message Too Large"}, ErrFraming)
	}
	data := make([]byte, len(head)+n)
	copy(data, head)
	if _, err := io.ReadFull(r, data[len(head):]); err != nil {
		return nil, err
	}
	return Parse(data)
}

// Await waits for the first byte of the next message and takes away the line
// ends before it. So a time limit can be set on the message alone. ping is
// called as by ReadMessage.
func Await(r *bufio.Reader, ping func() error) error {
	for lines := 0; ; {
		b, err := r.Peek(1)
		if err != nil {
			return err
		}
		switch b[0] {
		case '\r':
		case '\n':
			if lines++; lines%2 == 0 {
				if err := ping(); err != nil {
					return err
				}
			}
		default:
			return nil
		}
		r.Discard(1) //nolint:errcheck // it is there
	}
}

// readHead reads up to and including the empty line.
func readHead(r *bufio.Reader, ping func() error) ([]byte, error) {
	var head []byte
	blank := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(head) == 0 && (len(line) == 1 || (len(line) == 2 && line[0] == '\r')) {
			if blank++; blank%2 == 0 {
				if err := ping(); err != nil {
					return nil, err
				}
			}
			continue
		}
		head = append(head, line...)
		if len(head) > MaxMessage {
			return nil, ErrFraming
		}
		if err == nil && (len(line) == 1 || (len(line) == 2 && line[0] == '\r')) && endsLine(head, len(line)) {
			return head, nil
		}
	}
}

// endsLine reports whether the empty line of n bytes follows a whole line and
// is not the tail of one that was longer than the buffer.
func endsLine(head []byte, n int) bool {
	i := len(head) - n
	return i == 0 || head[i-1] == '\n'
}

func contentLength(head []byte) (int, error) {
	m := Message{raw: append([]byte(nil), head...)}
	if _, err := m.index(); err != nil {
		// The header is broken; its length may stand there all the same.
		if m.Get(ContentLength) == nil {
			return 0, ErrFraming
		}
	}
	n, ok := digits(m.Get(ContentLength))
	if !ok || n > MaxMessage {
		return 0, ErrFraming
	}
	for v := range m.All(ContentLength) {
		if other, ok := digits(v); !ok || other != n {
			return 0, ErrFraming // each reader would see other messages
		}
	}
	return int(n), nil
}
