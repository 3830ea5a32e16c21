package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// read reads a whole stream: "OPTIONS/body" for each message, "ping" for each
// keep-alive, and how it ended.
func read(r io.Reader) string {
	var got []string
	br := bufio.NewReader(r)
	for {
		m, err := ReadMessage(br, func() error { got = append(got, "ping"); return nil })
		var pe *ParseError
		switch {
		case err == nil:
			got = append(got, m.Method()+"/"+string(m.Body()))
			continue
		case errors.As(err, &pe) && errors.Is(err, ErrFraming):
			got = append(got, fmt.Sprint(pe.Code, " and closed"))
		case errors.As(err, &pe):
			got = append(got, fmt.Sprint(pe.Code))
			continue
		case errors.Is(err, ErrFraming):
			got = append(got, "closed")
		default:
			got = append(got, err.Error())
		}
		return strings.Join(got, ", ")
	}
}

func TestReadMessage(t *testing.T) {
	body := func(length, body string) string { return optionsWith("Content-Length: "+length+"\r\n") + body }
	long := strings.Repeat("x", 9000)
	for _, c := range []struct{ name, sent, got string }{
		{"two messages in one segment", body("3", "abc") + body("0", "") + body("4", "defg"), "OPTIONS/abc, OPTIONS/, OPTIONS/defg, EOF"},
		{"compact length", optionsWith("l : 3\r\n") + "abc", "OPTIONS/abc, EOF"},
		{"folded length", optionsWith("Content-Length:\r\n 3\r\n") + "abc", "OPTIONS/abc, EOF"},
		{"body that looks like a message", body("4", "\r\n\r\n") + body("0", ""), "OPTIONS/\r\n\r\n, OPTIONS/, EOF"},
		{"keep-alives", "\r\n\r\n" + body("0", "") + "\r\n\r\n\r\n\r\n", "ping, OPTIONS/, ping, ping, EOF"},
		{"half a keep-alive", "\r\n" + body("0", "") + "\r\n", "OPTIONS/, EOF"},
		{"header longer than the buffer", optionsWith("X: "+long+"\r\nContent-Length: 1\r\n") + "a", "OPTIONS/a, EOF"},
		{"line end at the buffer's end", optionsWith("X: "+strings.Repeat("y", 4096-len(optionsWith("X: \r\n"))+2)+"\r\nl: 1\r\n") + "a",
			"OPTIONS/a, EOF"},
		{"bare LF", strings.ReplaceAll(body("2", ""), "\r\n", "\n") + "ab", "OPTIONS/ab, EOF"},
		{"half a header", body("0", "")[:40], "EOF"},
		{"half a body", body("5", "abc"), "unexpected EOF"},
		{"no Content-Length", optionsWith("") + body("0", ""), "400 and closed"},
		{"negative Content-Length", body("-1", ""), "400 and closed"},
		{"huge Content-Length", body("99999", ""), "400 and closed"},
		{"more than a message may have", body("65535", strings.Repeat("x", 65535)), "513 and closed"},
		{"Content-Length of words", body("one", "x"), "400 and closed"},
		{"two different lengths", optionsWith("Content-Length: 0\r\nContent-Length: 3\r\n") + "abc", "400 and closed"},
		{"the same length twice", optionsWith("Content-Length: 3\r\nl: 3\r\n") + "abc" + body("0", ""), "400, OPTIONS/, EOF"},
		{"bad message, good length", "OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 3\r\n\r\nabc" + body("0", ""), "400, OPTIONS/, EOF"},
		{"bad line before the length", optionsWith("nonsense\r\nContent-Length: 3\r\n") + "abc" + body("0", ""), "OPTIONS/abc, OPTIONS/, EOF"},
		{"bad route before the length", optionsWith("Route x\r\nContent-Length: 3\r\n") + "abc" + body("0", ""), "400, OPTIONS/, EOF"},
		{"bad length", optionsWith("Content-Length 3\r\nContent-Length: 3\r\n") + "abc" + body("0", ""), "400, OPTIONS/, EOF"},
		{"bad start line, good length", "nonsense\r\n" + mandatory + "l: 0\r\n\r\n" + body("0", ""), "400, OPTIONS/, EOF"},
		{"not SIP at all", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "400 and closed"},
		{"endless header", strings.Repeat("X: y\r\n", 20000), "closed"},
		{"endless line", strings.Repeat("x", 100000), "closed"},
		{"NULs as a head", "\x00\r\n\r\n", "closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := read(strings.NewReader(c.sent)); got != c.got {
				t.Errorf("in one piece: got %q, want %q", got, c.got)
			}
			if got := read(iotest.OneByteReader(strings.NewReader(c.sent))); got != c.got {
				t.Errorf("byte by byte: got %q, want %q", got, c.got)
			}
		})
	}
}

func TestPongThatFailsEndsTheStream(t *testing.T) {
	broken := errors.New("broken pipe")
	if _, err := ReadMessage(bufio.NewReader(strings.NewReader("\r\n\r\n"+optionsWith(""))), func() error { return broken }); err != broken {
		t.Errorf("got %v", err)
	}
}
