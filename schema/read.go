package schema

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// maxFile bounds each file that is read, in bytes: some 75,000 users. Only
// tests change it.
var maxFile int64 = 64 << 20

const (
	// maxDepth bounds the nesting below the root; sipX files use four levels.
	maxDepth = 16
	// maxParts bounds the elements and texts of one child of the root, which take
	// a hundred times as much memory as text: a user has some ten and his aliases.
	maxParts = 10_000
)

// readChildren calls child with each element below the root of r, one after
// the other, so that a large file never stands in memory as a whole. The
// root's name must be one of roots. A document type declaration is refused:
// nothing that is expanded or fetched is ever read. Errors name the line.
func readChildren(r io.Reader, roots []string, child func(el *etree.Element, line int) error) error {
	lr := &io.LimitedReader{R: r, N: maxFile + 1}
	dec := xml.NewDecoder(lr)
	dec.CharsetReader = charsetReader

	var (
		root, closed bool
		item         *etree.Element // the element below the root that is being read
		at           *etree.Element // the innermost open element in it
		depth, line  int
		parts        int // of item
	)
	for {
		tok, err := dec.Token()
		if lr.N <= 0 {
			return fmt.Errorf("the file is larger than %d MiB", maxFile>>20)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return readError(dec, err)
		}
		if at != nil {
			if parts++; parts > maxParts {
				return fmt.Errorf("line %d: element <%s> has more than %d parts", line, clip(item.Tag), maxParts)
			}
		}
		switch t := tok.(type) {
		case xml.Directive:
			line, _ := dec.InputPos()
			return fmt.Errorf("line %d: document type declarations are not read: remove <!%s>", line, clip(string(t)))
		case xml.StartElement:
			pos, _ := dec.InputPos()
			switch {
			case closed:
				return fmt.Errorf("line %d: element <%s> after the end of the document", pos, clip(t.Name.Local))
			case !root:
				if !slices.Contains(roots, t.Name.Local) {
					return fmt.Errorf("line %d: root element is <%s>, want <%s>", pos, clip(t.Name.Local), roots[0])
				}
				root = true
			case item == nil:
				item, line, parts = etree.NewElement(t.Name.Local), pos, 0
				at = item
			default:
				if depth++; depth > maxDepth {
					return fmt.Errorf("line %d: element <%s> is nested too deep", pos, clip(t.Name.Local))
				}
				at = at.CreateElement(t.Name.Local)
			}
		case xml.EndElement:
			switch at {
			case nil:
				closed = true
			case item:
				if err := child(item, line); err != nil {
					return fmt.Errorf("line %d: %w", line, err)
				}
				item, at = nil, nil
			default:
				at = at.Parent()
				depth--
			}
		case xml.CharData:
			if at != nil {
				at.CreateText(string(t))
			}
		}
	}
	if !root {
		return fmt.Errorf("the file has no <%s> element", roots[0])
	}
	return nil
}

// readError names the line of what the XML reader refused. The reader's own
// words are cut: some quote a whole name, however long the file has it.
func readError(dec *xml.Decoder, err error) error {
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("line %d: not well-formed XML: %s", syntax.Line, shorten(syntax.Msg, maxReason))
	}
	line, _ := dec.InputPos()
	if text := err.Error(); len(text) > maxReason {
		return fmt.Errorf("line %d: %s", line, shorten(text, maxReason))
	}
	return fmt.Errorf("line %d: %w", line, err)
}

const (
	maxName   = 40  // bytes of a name from a file in an error
	maxReason = 200 // bytes of the XML reader's own error
)

// clip keeps a name from a file short enough for an error.
func clip(s string) string { return shorten(s, maxName) }

// shorten cuts s to n bytes and drops what is not printable UTF-8.
func shorten(s string, n int) string {
	more := ""
	if len(s) > n {
		s, more = s[:n], "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "")) + more
}

// text is the character data of el as xsd:normalizedString has it: line ends
// and tabs become spaces; outer spaces are cut.
func text(el *etree.Element) string {
	if el == nil {
		return ""
	}
	s := strings.TrimSpace(el.Text())
	if strings.ContainsAny(s, "\t\r\n") {
		s = strings.NewReplacer("\t", " ", "\r", " ", "\n", " ").Replace(s)
	}
	return s
}

// charsetReader converts the encodings that sipX tools wrote.
func charsetReader(charset string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "us-ascii", "ascii", "utf8":
		return r, nil
	case "iso-8859-1", "latin1":
		return &latin1Reader{r: r}, nil
	}
	return nil, fmt.Errorf("encoding %q is not read: save the file as UTF-8", clip(charset))
}

// latin1Reader reads ISO-8859-1 as UTF-8.
type latin1Reader struct {
	r   io.Reader
	buf [512]byte
	out []byte // converted bytes not yet read
}

func (l *latin1Reader) Read(p []byte) (int, error) {
	if len(l.out) == 0 {
		n, err := l.r.Read(l.buf[:])
		if n == 0 {
			return 0, err
		}
		l.out = l.out[:0]
		for _, b := range l.buf[:n] {
			l.out = utf8.AppendRune(l.out, rune(b))
		}
	}
	n := copy(p, l.out)
	l.out = l.out[n:]
	return n, nil
}
