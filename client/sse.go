package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"
)

// blockMost bounds one server-sent event. The longest are parts of snapshots, of 100
// calls each.
const blockMost = 8 << 20

var errLongBlock = errors.New("sipxrest: a server-sent event is too long")

// block is one server-sent event. One without data says only where the stream is.
type block struct {
	id, event string
	data      []byte
	retry     time.Duration
}

// blocks reads server-sent events, as the HTML standard has them.
type blocks struct {
	in *bufio.Reader
}

func newBlocks(r io.Reader) *blocks { return &blocks{in: bufio.NewReaderSize(r, 16<<10)} }

// next returns the next block that has a field. A block that the end of the stream cuts
// off is none.
func (b *blocks) next() (block, error) {
	var found block
	some, size := false, 0
	for {
		line, err := b.line(&size)
		if err != nil {
			return block{}, err
		}
		if len(line) == 0 {
			if some {
				return found, nil
			}
			size = 0
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			found.id = string(value)
		case "event":
			found.event = string(value)
		case "data":
			if len(found.data) > 0 {
				found.data = append(found.data, '\n')
			}
			found.data = append(found.data, value...)
		case "retry":
			if ms, err := strconv.Atoi(string(value)); err == nil && ms >= 0 && ms < 1<<30 {
				found.retry = time.Duration(ms) * time.Millisecond
			}
		default:
			continue // a comment, or a field of later days
		}
		some = true
	}
}

// line reads one line without its end, and adds its length to size.
func (b *blocks) line(size *int) ([]byte, error) {
	var whole []byte
	for {
		part, err := b.in.ReadSlice('\n')
		if *size += len(part); *size > blockMost {
			return nil, errLongBlock
		}
		whole = append(whole, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(bytes.TrimSuffix(whole, []byte("\n")), []byte("\r")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
