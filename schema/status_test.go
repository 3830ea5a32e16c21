package schema

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
)

// bodies returns the XML bodies of a capture whose root is root.
func bodies(t *testing.T, capture, root string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "captures", capture+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(`(?s)<\?xml [^>]*>\n<` + root + ` .*?</` + root + `>\n`)
	found := re.FindAllString(string(raw), -1)
	if len(found) == 0 {
		t.Fatalf("no %s document in %s", root, capture)
	}
	return found
}

// fields cuts the text between the tags of the named elements out of doc, in
// order. The original escaped nothing, so an XML reader cannot do it.
func fields(doc string, names ...string) [][]string {
	var pattern strings.Builder
	pattern.WriteString("(?s)")
	for i, n := range names {
		if i > 0 {
			pattern.WriteString(`\s*`)
		}
		pattern.WriteString("<" + n + ">(.*?)</" + n + ">")
	}
	return regexp.MustCompile(pattern.String()).FindAllStringSubmatch(doc, -1)
}

func TestStatusLinesMatchTheCaptures(t *testing.T) {
	for _, capture := range []string{"H03_get_before_any_call", "R01_refer_success", "R31_get_status_formats", "R07c_notify_multiline_xml"} {
		for _, want := range bodies(t, capture, "status-lines") {
			var lines []StatusLine
			for _, f := range fields(want, "timestamp", "call-id", "method", "status-line") {
				ms, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, StatusLine{time.UnixMilli(ms), f[2], f[3], f[4]})
				// What the original left unescaped is the one difference.
				want = strings.Replace(want, ">"+f[4]+"<", ">"+escaper.Replace(f[4])+"<", 1)
			}
			if diff := cmp.Diff(want, string(AppendStatusLines(nil, lines))); diff != "" {
				t.Errorf("%s (-capture +ours):\n%s", capture, diff)
			}
		}
	}
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

func TestDialogsMatchTheCaptures(t *testing.T) {
	for _, capture := range []string{"H03_get_before_any_call", "I01_invite_success"} {
		for _, want := range bodies(t, capture, "dialogs") {
			var dialogs []Dialog
			for _, f := range fields(want, "dialog-id", "local-party", "remote-party", "dialog-state") {
				dialogs = append(dialogs, Dialog{f[1], f[2], f[3], f[4]})
			}
			if diff := cmp.Diff(want, string(AppendDialogs(nil, dialogs))); diff != "" {
				t.Errorf("%s (-capture +ours):\n%s", capture, diff)
			}
		}
	}
}

func TestProcessingStatusMatchesTheCaptures(t *testing.T) {
	for _, want := range bodies(t, "H04_post_parameters", "processing-status") {
		f := fields(want, "error-code", "error-text")[0]
		code, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.ValidString(f[2]) {
			continue // the capture's ISO-8859-1 label (B23) is not kept
		}
		want = strings.Replace(want, ">"+f[2]+"<", ">"+escaper.Replace(f[2])+"<", 1)
		if diff := cmp.Diff(want, string(AppendProcessingStatus(nil, code, f[2]))); diff != "" {
			t.Errorf("%s (-capture +ours):\n%s", f[2], diff)
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	for _, got := range [][]byte{
		AppendStatusLines([]byte("before"), nil), AppendDialogs([]byte("before"), nil), AppendProcessingStatus([]byte("before"), 400, ""),
	} {
		if !strings.HasPrefix(string(got), "before<?xml ") {
			t.Errorf("got %q", got)
		}
	}
}

func TestTextIsEscaped(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{`<b>&"]]>`, "&lt;b&gt;&amp;&quot;]]&gt;"},
		{"a\r\nb\rc\td", "a\r\nb\rc\td"},
		{"a\x00b\x1b[2J\x08", "ab[2J"},
		{"gr\xfc\xc3\xbcn\xc3", "gr\uFFFDün\uFFFD"},
		{"\xed\xa0\x80\xc0\xaf", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"}, // a surrogate, an overlong "/"
		{"x\uFFFEy\uFFFFz\uFFFD", "xyz\uFFFD"},
		{"日本\U0001F4DE\u0085\x7f", "日本\U0001F4DE\u0085\x7f"},
	} {
		if got := string(appendText(nil, tt.in)); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// asRead is what an XML reader may be told of s: illegal characters gone, line
// ends as XML 1.0 §2.11 has them.
func asRead(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(dropIllegal(s))
	return s
}

func dropIllegal(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, s) // Map turns each invalid byte into U+FFFD
}

func FuzzStatusDocuments(f *testing.F) {
	f.Add(int64(1795211971836), "ca45@10.3.0.10", "NOTIFY", "SIP/2.0 486 Busy Here\r\nTo: \"A&B\" <sip:x@y>")
	f.Add(int64(-1), "]]>", "\xff", "\x00<!DOCTYPE a [<!ENTITY x SYSTEM 'file:'>]>&x;")
	f.Fuzz(func(t *testing.T, at int64, id, method, text string) {
		at %= 1 << 50
		read := func(doc []byte) *etree.Element {
			d := etree.NewDocument()
			if err := d.ReadFromBytes(doc); err != nil {
				t.Fatalf("%v in %q", err, doc)
			}
			return d.Root()
		}
		check := func(el *etree.Element, path, want string) {
			if got := el.FindElement(path).Text(); got != asRead(want) {
				t.Errorf("%s: read %q, want %q", path, got, asRead(want))
			}
		}
		line := StatusLine{time.UnixMilli(at), id, method, text}
		root := read(AppendStatusLines(nil, []StatusLine{line, line}))
		if n := len(root.SelectElements("status")); n != 2 {
			t.Fatalf("%d status elements", n)
		}
		for _, p := range []string{"status[1]/", "status[2]/"} {
			check(root, p+"timestamp", strconv.FormatInt(at, 10))
			check(root, p+"call-id", id)
			check(root, p+"method", method)
			check(root, p+"status-line", text)
		}
		root = read(AppendDialogs(nil, []Dialog{{id, method, text, id}}))
		check(root, "dialog/dialog-id", id)
		check(root, "dialog/local-party", method)
		check(root, "dialog/remote-party", text)
		check(root, "dialog/dialog-state", id)
		root = read(AppendProcessingStatus(nil, int(at), text))
		check(root, "error-code", strconv.FormatInt(at, 10))
		check(root, "error-text", text)
	})
}

func BenchmarkStatusLines(b *testing.B) {
	at := time.UnixMilli(1795211971836)
	id := "ca45be7816273ca26e906597d5068e28@10.3.0.10"
	lines := []StatusLine{
		{at, id, "INVITE", "SIP/2.0 100 Trying"}, {at, id, "INVITE", "SIP/2.0 180 Ringing"}, {at, id, "INVITE", "SIP/2.0 200 OK"},
		{at, id, "NOTIFY", "SIP/2.0 100 Trying"}, {at, id, "NOTIFY", "SIP/2.0 180 Ringing"}, {at, id, "NOTIFY", "SIP/2.0 200 OK"},
	}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendStatusLines(buf[:0], lines)
	}
}

// etree writes the text of an error as the other documents have theirs.
func TestErrorsAreEscapedAsOtherTexts(t *testing.T) {
	for _, text := range []string{"", "it's <b>\"bold\"</b> & &apos; ]]>", "a\r\n\tb", "\x00\x1f\x7f\u0085", "\xff\xfe\ufffe\uffff\ufffd",
		"ü €\U0001F600"} {
		want := "<error-text>" + string(appendText(nil, text)) + "</error-text>\n</processing-status>\n"
		if got := string(AppendProcessingStatus(nil, 400, text)); !strings.HasSuffix(got, want) {
			t.Errorf("%q: %q, want …%q", text, got, want)
		}
	}
}
