package capture

import (
	"bytes"
	"fmt"
	"io"
)

// WriteText writes messages one below the other, each under a line that says when it went
// from where to where.
func WriteText(w io.Writer, list []Message) error {
	var b bytes.Buffer
	for i := range list {
		m := &list[i]
		from, to := m.Remote.String(), m.Local
		if m.Out {
			from, to = to, from
		}
		fmt.Fprintf(&b, "--- %s %s %s -> %s\n", m.At.UTC().Format("2006-01-02T15:04:05.000000Z"), m.Transport, from, to)
		b.Write(bytes.ReplaceAll(m.Text, []byte("\r\n"), []byte("\n")))
		if m.Cut {
			b.WriteString("\n[more was not kept]")
		}
		if b.Len() > 0 && b.Bytes()[b.Len()-1] != '\n' {
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}
