package callcontroller

import (
	"encoding/binary"
	"time"

	"sipxrest/schema"
)

// Finished records stay for minutes, by the ten thousands. As structs their lines
// are mostly pointers, each of which every garbage collection looks at. So the lines
// of a call that is over are one text: for each line the milliseconds since the one
// before, flags, and its strings with their lengths.

// Flags of a packed line.
const (
	sameCallID byte = 1 << iota // it is that of the line before, and left out
	sameMethod
)

// pack returns lines as a text for unpack.
func pack(lines []line) string {
	b := make([]byte, 0, 256)
	var last line
	for i := range lines {
		l := &lines[i]
		b = binary.AppendVarint(b, l.at-last.at)
		var flags byte
		if l.callID == last.callID {
			flags |= sameCallID
		}
		if l.method == last.method {
			flags |= sameMethod
		}
		b = append(b, flags)
		if flags&sameCallID == 0 {
			b = appendText(b, l.callID)
		}
		if flags&sameMethod == 0 {
			b = appendText(b, l.method)
		}
		b = appendText(b, l.text)
		last = *l
	}
	return string(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// unpack appends the lines of a packed text, whose memory they share.
func unpack(dst []schema.StatusLine, text string) []schema.StatusLine {
	var last line
	for text != "" {
		since, rest := cutVarint(text)
		last.at += since
		flags := rest[0]
		text = rest[1:]
		if flags&sameCallID == 0 {
			last.callID, text = cutText(text)
		}
		if flags&sameMethod == 0 {
			last.method, text = cutText(text)
		}
		last.text, text = cutText(text)
		dst = append(dst, schema.StatusLine{At: time.UnixMilli(last.at), CallID: last.callID, Method: last.method, Text: last.text})
	}
	return dst
}

func cutText(s string) (text, rest string) {
	n, size := binary.Uvarint(number(s))
	return s[size : size+int(n)], s[size+int(n):]
}

func cutVarint(s string) (v int64, rest string) {
	v, n := binary.Varint(number(s))
	return v, s[n:]
}

// number returns what a number takes at most of the beginning of s.
func number(s string) []byte {
	var b [binary.MaxVarintLen64]byte
	return b[:copy(b[:], s)]
}
