// Package schema reads and writes the documents of a sipXecs installation:
// the status documents that callcontroller sends, and the files under
// /etc/sipxpbx that an existing installation already has.
package schema

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/beevik/etree"
)

const (
	declaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	statusNS    = `http://www.sipfoundry.org/sipX/schema/xml/call-status-00-00`
)

// StatusLine is one event of a REFER call: a response to its INVITE, or what a
// NOTIFY of the phone said.
type StatusLine struct {
	At     time.Time // written as milliseconds since 1970
	CallID string    // SIP Call-ID
	Method string    // "INVITE", "NOTIFY" or "REFER"
	Text   string    // a SIP status line, or the whole body of a NOTIFY
}

// AppendStatusLines appends the status-lines document, the response to a GET
// for a REFER call, to dst and returns the extended slice. The layout is that
// of sipXrest, byte for byte; unlike there, text is escaped.
func AppendStatusLines(dst []byte, lines []StatusLine) []byte {
	dst = append(dst, declaration+`<status-lines xmlns="`+statusNS+`">`+"\n"...)
	for i := range lines {
		l := &lines[i]
		dst = append(dst, "<status>\n\t<timestamp>"...)
		dst = strconv.AppendInt(dst, l.At.UnixMilli(), 10)
		dst = append(dst, "</timestamp>\n\t<call-id>"...)
		dst = appendText(dst, l.CallID)
		dst = append(dst, "</call-id>\n\t<method>"...)
		dst = appendText(dst, l.Method)
		dst = append(dst, "</method>\n\t<status-line>"...)
		dst = appendText(dst, l.Text)
		dst = append(dst, "</status-line>\n</status>\n"...)
	}
	return append(dst, "</status-lines>\n"...)
}

// Dialog is one leg of an INVITE call.
type Dialog struct {
	ID          string // "callid:localtag:remotetag" in lower case, or "null"
	LocalParty  string // a SIP URI
	RemoteParty string // a SIP URI
	State       string // "null", "Early Dialog", "Confirmed Dialog" or "Terminated Dialog"
}

// AppendDialogs appends the dialogs document, the response to a GET for an
// INVITE call, to dst and returns the extended slice.
func AppendDialogs(dst []byte, dialogs []Dialog) []byte {
	dst = append(dst, declaration+`<dialogs xmlns="`+statusNS+`">`+"\n"...)
	for i := range dialogs {
		d := &dialogs[i]
		dst = append(dst, "\t<dialog>\n\t\t<dialog-id>"...)
		dst = appendText(dst, d.ID)
		dst = append(dst, "</dialog-id>\n\t\t<local-party>"...)
		dst = appendText(dst, d.LocalParty)
		dst = append(dst, "</local-party>\n\t\t<remote-party>"...)
		dst = appendText(dst, d.RemoteParty)
		dst = append(dst, "</remote-party>\n\t\t<dialog-state>"...)
		dst = appendText(dst, d.State)
		dst = append(dst, "</dialog-state>\n\t</dialog>\n"...)
	}
	return append(dst, "</dialogs>\n"...)
}

// AppendProcessingStatus appends the document that explains a refused request
// to dst and returns the extended slice. code is usually the HTTP status.
func AppendProcessingStatus(dst []byte, code int, text string) []byte {
	d := etree.NewDocument()
	d.WriteSettings.CanonicalEndTags = true // an empty text has both tags, as with sipXrest
	d.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
	d.CreateText("\n")
	root := d.CreateElement("processing-status")
	root.CreateAttr("xmlns", statusNS)
	root.CreateText("\n")
	for _, e := range [][2]string{{"error-flag", "ERROR"}, {"error-code", strconv.Itoa(code)}, {"error-text", legal(text)}} {
		root.CreateElement(e[0]).SetText(e[1])
		root.CreateText("\n")
	}
	d.CreateText("\n")
	doc, err := d.WriteToBytes()
	if err != nil {
		return dst // bytes in memory take everything
	}
	// sipXrest left apostrophes alone. No & of the text is one here.
	return append(dst, bytes.ReplaceAll(doc, []byte("&apos;"), []byte("'"))...)
}

// legal is s without the characters that XML 1.0 §2.2 does not allow, as
// appendText writes it.
func legal(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r // bytes that are not UTF-8 come as U+FFFD
	}, s)
}

// appendText appends s as XML character data (XML 1.0 §2.4). Characters that
// XML 1.0 §2.2 does not allow are dropped, bytes that are not UTF-8 become
// U+FFFD. A CR stays as it is, as sipXrest wrote it: every XML reader gives
// back CRLF and a single CR as LF (§2.11), which is what a reader of a sipfrag
// wants, where &#13; would leave it a stray CR.
func appendText(dst []byte, s string) []byte {
	plain := 0 // s[plain:i] needs no change
	for i := 0; i < len(s); {
		var with string
		size := 1
		switch b := s[i]; {
		case b == '&':
			with = "&amp;"
		case b == '<':
			with = "&lt;"
		case b == '>': // "]]>" may not stand in character data
			with = "&gt;"
		case b == '"':
			with = "&quot;"
		case b < 0x20 && b != '\t' && b != '\n' && b != '\r':
		case b < utf8.RuneSelf:
			i++
			continue
		default:
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				with = "\uFFFD"
			} else if r != 0xFFFE && r != 0xFFFF {
				i += size
				continue
			}
		}
		dst = append(dst, s[plain:i]...)
		dst = append(dst, with...)
		i += size
		plain = i
	}
	return append(dst, s[plain:]...)
}
