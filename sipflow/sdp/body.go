package sdp

import "bytes"

// A Body is what a message carries, with the header fields that say what it is.
type Body struct {
	Type, Encoding, Disposition []byte
	Content                     []byte
}

// maxParts bounds the parts of a body that are looked at, those of a part of several
// parts included. A gateway's has two or three.
const maxParts = 16

// Read returns the session description of a body: the body itself, or the part of it
// that is one (RFC 5621). It is nil when there is none. taken is false for a body,
// or part, that a request may not have unless it is understood: the request is
// refused by 415 (RFC 3261 §8.2.3).
//
// A description without a Content-Type counts, too: there are phones that forget it.
// The description is a part of content, nothing is copied.
func (b Body) Read() (description []byte, taken bool) {
	if len(b.Content) == 0 {
		return nil, true
	}
	left := maxParts
	kind := b.read(1, &left)
	switch {
	case kind.refused:
		return kind.description, false
	case kind.description != nil:
		return kind.description, true
	}
	return nil, b.optional()
}

// found is what a body or part comes to.
type found struct {
	description []byte
	refused     bool // a part has to be understood, and is not
}

func (b Body) read(nested int, left *int) (f found) {
	mediaType, params := b.Type, []byte(nil)
	if i := bytes.IndexByte(mediaType, ';'); i >= 0 {
		mediaType, params = mediaType[:i], mediaType[i:]
	}
	mediaType = bytes.TrimSpace(mediaType)
	if !b.plain() {
		return found{}
	}
	switch {
	case is(mediaType, Type), len(mediaType) == 0 && bytes.HasPrefix(b.Content, []byte("v=0")):
		if b.ofSession() {
			f.description = b.Content
		}
		return f
	case is(mediaType, "multipart/mixed"), is(mediaType, "multipart/related"):
		return b.parts(params, false, nested, left)
	case is(mediaType, "multipart/alternative"):
		return b.parts(params, true, nested, left)
	}
	return f
}

func is(mediaType []byte, want string) bool { return bytes.EqualFold(mediaType, []byte(want)) }

// plain reports whether the content stands there as it is (RFC 3261 §20.12).
func (b Body) plain() bool {
	e := bytes.TrimSpace(b.Encoding)
	return len(e) == 0 || is(e, "identity") || is(e, "binary") || is(e, "8bit") || is(e, "7bit")
}

// ofSession reports whether a description is that of the session, which it is unless
// it says something else: early-session is one of its own (RFC 3959).
func (b Body) ofSession() bool {
	d, _, _ := bytes.Cut(b.Disposition, []byte{';'})
	d = bytes.TrimSpace(d)
	return len(d) == 0 || is(d, "session")
}

// optional reports whether a body that is not understood is to be ignored. Without a
// word on it, it is not (RFC 3261 §20.11).
func (b Body) optional() bool { return is(parameter(b.Disposition, "handling"), "optional") }

// parts looks through a body of several parts. Of alternatives the last one that is
// understood counts (RFC 2046 §5.1.4), of others the first description. A part that
// says nothing of its handling is left out where it is not understood: there are
// gateways that forget it.
func (b Body) parts(params []byte, alternative bool, nested int, left *int) (f found) {
	boundary := parameter(params, "boundary")
	if len(boundary) == 0 || len(boundary) > 70 || nested < 0 {
		return f
	}
	required := false
	for part := range eachPart(b.Content, boundary) {
		if *left--; *left < 0 {
			break
		}
		p := readPart(part)
		switch got := p.read(nested-1, left); {
		case got.description == nil:
			required = required || got.refused || len(p.Disposition) > 0 && !p.optional()
		case f.description == nil || alternative:
			f.description = got.description
			required = required || got.refused
		}
	}
	f.refused = required && !(alternative && f.description != nil)
	return f
}

// eachPart yields what stands between the lines of a boundary (RFC 2046 §5.1.1). The
// last part may lack the line at its end, for the message ends there as well.
func eachPart(content, boundary []byte) func(yield func(part []byte) bool) {
	return func(yield func(part []byte) bool) {
		start, at := -1, 0
		for line := range bytes.Lines(content) {
			begin := at
			at += len(line)
			rest, ok := bytes.CutPrefix(line, []byte("--"))
			if ok {
				rest, ok = bytes.CutPrefix(rest, boundary)
			}
			last := bytes.HasPrefix(rest, []byte("--"))
			if !ok || !last && len(bytes.TrimSpace(rest)) > 0 {
				continue
			}
			if start >= 0 && !yield(withoutLineEnd(content[start:begin])) {
				return
			}
			if start = at; last {
				return
			}
		}
		if start >= 0 && start < len(content) {
			yield(content[start:])
		}
	}
}

// withoutLineEnd takes off the line end that belongs to the boundary after it.
func withoutLineEnd(part []byte) []byte {
	part, _ = bytes.CutSuffix(part, []byte("\n"))
	part, _ = bytes.CutSuffix(part, []byte("\r"))
	return part
}

// readPart reads the header of a part, whose names may be SIP's short ones.
func readPart(part []byte) (b Body) {
	b.Content = part
	for line := range bytes.Lines(part) {
		b.Content = b.Content[len(line):]
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return b
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		value = bytes.TrimSpace(value)
		switch name = bytes.TrimSpace(name); {
		case !ok:
		case is(name, "Content-Type"), is(name, "c"):
			b.Type = value
		case is(name, "Content-Disposition"):
			b.Disposition = value
		case is(name, "Content-Encoding"), is(name, "e"), is(name, "Content-Transfer-Encoding"):
			if b.plain() { // of two, one that is not plain decides
				b.Encoding = value
			}
		}
	}
	return b
}

// parameter returns the value of a parameter in what follows a header field's value,
// without its quotes. It looks at each byte once: the field may be as long as a message.
func parameter(params []byte, name string) []byte {
	for {
		i := bytes.IndexByte(params, ';')
		if i < 0 {
			return nil
		}
		params = params[i+1:]
		end := bytes.IndexAny(params, ";=")
		if end < 0 {
			return nil
		}
		if params[end] == ';' { // one without a value
			params = params[end:]
			continue
		}
		key, value := params[:end], bytes.TrimLeft(params[end+1:], " \t")
		if len(value) > 0 && value[0] == '"' {
			end := bytes.IndexByte(value[1:], '"')
			if end < 0 {
				return nil
			}
			params, value = value[end+2:], value[1:end+1]
		} else {
			params = value
			if end := bytes.IndexByte(value, ';'); end >= 0 {
				value = value[:end]
			}
			value = bytes.TrimSpace(value)
		}
		if is(bytes.TrimSpace(key), name) {
			return value
		}
	}
}
