package schema

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func sample(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "sipx", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestValidUsersOfAnInstallationAreRead(t *testing.T) {
	got, err := ReadValidUsers(strings.NewReader(sample(t, "4.2/validusers.xml")))
	if err != nil {
		t.Fatal(err)
	}
	want := []ValidUser{
		{"200@sipx.test", "200", []string{"alice", "42"}, "Alice Agent", "2f3d4a6ebb4e0dd96c2d4a1f1b9c3d55", "6b1c2a93ef7d04a58f4e2a0d9c7b6e11"},
		{"201@sipx.test", "201", nil, `Bob "Bobby" Müller & Sons`, "1234", "0cc175b9c0f1b6a831c399e269772661"},
		{"+9663@sipx.test", "+9663", nil, "", "", "92eb5ffee6ae2fec3ad71c777531578f"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestValidUsersVariants(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []ValidUser
	}{
		{"no users", `<validusers/>`, nil},
		{
			"items of a table, aliases bare, identity with a scheme",
			`<items type="validusers" xmlns="http://www.sipfoundry.org/sipX/schema/xml/validusers-00-00"><item><identity>` +
				`sip:201@example.com</identity><userName>201</userName><alias>bob</alias><alias>b</alias></item></items>`,
			[]ValidUser{{Identity: "201@example.com", UserName: "201", Aliases: []string{"bob", "b"}}},
		},
		{"user name from the identity", `<validusers><user><identity>201@x</identity></user></validusers>`,
			[]ValidUser{{Identity: "201@x", UserName: "201"}}},
		{"prefixed names", `<v:validusers xmlns:v="u"><v:user><v:userName>1</v:userName></v:user></v:validusers>`, []ValidUser{{UserName: "1"}}},
		{"other elements",
			`<validusers><group><userName>9</userName></group><user><userName>1</userName><x><userName>2</userName></x></user></validusers>`,
			[]ValidUser{{UserName: "1"}}},
		{"line ends in a value", "<validusers><user><userName>1</userName><displayName>\n Bob\r\n\tBuilder </displayName></user></validusers>",
			[]ValidUser{{UserName: "1", DisplayName: "Bob  Builder"}}},
		{"comments and CDATA", "<validusers><user><userName>1<!-- x " +
			"-->2</userName><displayName><![CDATA[A&B]]></displayName></user></validusers>", []ValidUser{{UserName: "12", DisplayName: "A&B"}}},
		{"ISO-8859-1", "<?xml version=\"1.0\" " +
			"encoding=\"ISO-8859-1\"?><validusers><user><userName>1</userName><displayName>M\xfcller</displayName></user></validusers>",
			[]ValidUser{{UserName: "1", DisplayName: "Müller"}}},
		{"byte order mark", "\uFEFF<?xml version=\"1.0\" encoding=\"UTF-8\"?><validusers><user><userName>1</userName></user></validusers>",
			[]ValidUser{{UserName: "1"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadValidUsers(strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBrokenValidUsersNameLineAndElement(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty file", "", "no <validusers> element"},
		{"other document", "<permissions/>", "line 1: root element is <permissions>, want <validusers>"},
		{"nameless user", "<validusers>\n<user><userName>1</userName></user>\n<user>\n<displayName>x</displayName></user></validusers>",
			"line 3: <user> 2: has neither <userName> nor <identity>"},
		{"cut off", "<validusers>\n<user>\n<identity>2", "line 3: not well-formed XML: unexpected EOF"},
		{"crossed tags", "<validusers>\n<user><identity>2</user>", "line 2: not well-formed XML"},
		{"second document", "<validusers/>\n<validusers/>", "line 2: element <validusers> after the end"},
		{"DTD", "<?xml version=\"1.0\"?>\n<!DOCTYPE v SYSTEM \"http://evil.test/x.dtd\">\n<validusers/>",
			"line 2: document type declarations are not read"},
		{"entity bomb", "<!DOCTYPE v [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><validusers><user><userName>&b;</userName></user></validusers>",
			"line 1: document type declarations"},
		{"undefined entity", "<validusers><user><userName>&secret;</userName></user></validusers>", "line 1: not well-formed XML"},
		{"not UTF-8", "<validusers><user><userName>\xff</userName></user></validusers>", "line 1: not well-formed XML: invalid UTF-8"},
		{"unknown encoding", "<?xml version=\"1.0\" encoding=\"EBCDIC\"?><validusers/>", `encoding "EBCDIC" is not read: save the file as UTF-8`},
		{"deep nesting", "<validusers><user>" + strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100) + "</user></validusers>",
			"nested too deep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			users, err := ReadValidUsers(strings.NewReader(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "validusers.xml: ") {
				t.Errorf("got %v, %v, want error with %q", users, err, tt.want)
			}
			if users != nil {
				t.Errorf("got users %v along with the error", users)
			}
		})
	}
}

// endless repeats a text for ever.
type endless struct {
	text string
	at   int
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.text[e.at%len(e.text)]
		e.at++
	}
	e.read += len(p)
	return len(p), nil
}

func TestEndlessFilesAreRefused(t *testing.T) {
	defer func(limit int64) { maxFile = limit }(maxFile)
	maxFile = 2 << 20
	for name, read := range map[string]func(io.Reader) error{
		"validusers.xml": func(r io.Reader) error {
			_, err := ReadValidUsers(io.MultiReader(strings.NewReader("<validusers>"), r))
			return err
		},
		"sipxrest-config.xml": func(r io.Reader) error {
			_, err := ReadSipxrestConfig(io.MultiReader(strings.NewReader("<rest-config>"), r))
			return err
		},
		"domain-config": func(r io.Reader) error { _, err := ReadDomainConfig(r); return err },
	} {
		src := &endless{text: strings.Repeat(" ", 1023) + "\n"}
		if name == "domain-config" {
			src.text = "\n"
		}
		err := read(src)
		if err == nil || !strings.Contains(err.Error(), "larger than 2 MiB") || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if int64(src.read) > maxFile+1<<17 {
			t.Errorf("%s: read %d bytes", name, src.read)
		}
	}
}

func TestOneUserCannotTakeTheMemoryOfAll(t *testing.T) {
	for _, part := range []string{"<alias/>", "<aliases><alias>1</alias></aliases>", "x<!-- -->"} {
		_, err := ReadValidUsers(strings.NewReader("<validusers><user><userName>201</userName>" + strings.Repeat(part, maxParts) +
			"</user></validusers>"))
		if err == nil || !strings.Contains(err.Error(), "line 1: element <user> has more than 10000 parts") {
			t.Errorf("%s: %v", part, err)
		}
	}
}

func TestSecretsOfAUserStayOutOfLogs(t *testing.T) {
	u := ValidUser{UserName: "201", PINToken: "sesame", PassToken: "sesame"}
	var buf bytes.Buffer
	slog.New(slog.NewJSONHandler(&buf, nil)).Info("loaded", "user", u)
	fmt.Fprintf(&buf, "%v %+v %#v %s", u, u, &u, []ValidUser{u})
	if strings.Contains(buf.String(), "sesame") {
		t.Error(buf.String())
	}
}

func TestDomainConfig(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     DomainConfig
	}{
		{"an installation's", sample(t, "4.2/domain-config"), DomainConfig{"sipx.test", "realm.sipx.test",
			[]string{"192.0.2.10", "pbx.sipx.test"}}},
		{"realm defaults to the domain", "SIP_DOMAIN_NAME:x.test\r\n", DomainConfig{"x.test", "x.test", nil}},
		{"equal signs, no line end", "\uFEFFSIP_DOMAIN_NAME=x.test\nSIP_REALM=a: b", DomainConfig{"x.test", "a: b", nil}},
		{"last counts", "SIP_DOMAIN_NAME : a\nSIP_DOMAIN_NAME : b", DomainConfig{"b", "b", nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadDomainConfig(strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "domain-config: SIP_DOMAIN_NAME is missing"},
		{"no separator", "# x\nSIP_DOMAIN_NAME sipx.test", `line 2: no ":"`},
		{"not a name", "\nSIP_DOMAIN_NAME : a b", "line 2: SIP_DOMAIN_NAME is not a domain name"},
		{"control character", "SIP_DOMAIN_NAME : a\x01", "line 1: SIP_DOMAIN_NAME has a control character"},
		{"not UTF-8", "SIP_REALM : a\xff", "line 1: SIP_REALM has a control character"},
		{"long line", "A : 1\nSIP_DOMAIN_NAME : " + strings.Repeat("a", 1<<20), "line 2: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ReadDomainConfig(strings.NewReader(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want error with %q", got, err, tt.want)
			}
		})
	}
}

func TestSipxrestConfig(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.10")
	for _, tt := range []struct {
		name, in string
		want     SipxrestConfig
	}{
		{"release 4.2", sample(t, "4.2/sipxrest-config.xml"), SipxrestConfig{HTTPSPort: 6666, ExternalHTTPPort: 6667, SIPPort: 6050,
			IPAddress: ip, ProxyDomain: "sipx.test", LogLevel: "NOTICE", LogDirectory: "/var/log/sipxpbx"}},
		{"release 4.6", sample(t, "4.6/sipxrest-config.xml"), SipxrestConfig{HTTPPort: 6667, PublicHTTPPort: 6666, SIPPort: 6050, IPAddress: ip,
			ProxyDomain: "sipx.test", LogLevel: "NOTICE", LogDirectory: "/var/log/sipxpbx"}},
		{"before 4.2", "<call-controller-config><https-port>1</https-port></call-controller-config>", SipxrestConfig{HTTPSPort: 1}},
		{"unknown and empty elements", "<rest-config><http-port> 80 </http-port><ip-address/><x>y</x></rest-config>",
			SipxrestConfig{HTTPPort: 80}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadSipxrestConfig(strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, tt := range []struct{ name, in, want string }{
		{"no port", "<rest-config><sip-port>1</sip-port></rest-config>", "sipxrest-config.xml: names no port"},
		{"bad port", "<rest-config>\n<https-port>66666</https-port></rest-config>", `line 2: <https-port>: "66666" is not a port (1 to 65535)`},
		{"port 0", "<rest-config>\n<sip-port>0</sip-port></rest-config>", `<sip-port>: "0" is not a port`},
		{"bad address", "<rest-config><ip-address>pbx</ip-address></rest-config>", `<ip-address>: "pbx" is not an IP address`},
		{"root", "<validusers/>", "root element is <validusers>, want <rest-config>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ReadSipxrestConfig(strings.NewReader(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want error with %q", got, err, tt.want)
			}
		})
	}
}

func TestErrorsDoNotQuoteAWholeFile(t *testing.T) {
	long := strings.Repeat("\xa6", 4000)
	for name, in := range map[string]string{
		"entity":       "<validusers>\n&gt" + strings.Repeat("r", 4000),
		"directive":    "<validusers>\n<!\x1b" + long + "></validusers>",
		"closing name": "<validusers>\n</" + strings.Repeat("x", 4000) + ">",
		"version":      `<?xml version="` + strings.Repeat("9", 4000) + `"?><validusers/>`,
		"encoding":     `<?xml version="1.0" encoding="` + strings.Repeat("x", 4000) + `"?><validusers/>`,
	} {
		_, err := ReadValidUsers(strings.NewReader(in))
		if err == nil || len(err.Error()) > 300 || !utf8.ValidString(err.Error()) || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %.600v", name, err)
		}
	}
}

func FuzzReadValidUsers(f *testing.F) {
	f.Add([]byte(sample(f, "4.2/validusers.xml")))
	f.Add([]byte(`<items type="validusers"><item><identity>sip:1@x</identity><alias>a</alias></item></items>`))
	f.Fuzz(func(t *testing.T, in []byte) {
		users, err := ReadValidUsers(bytes.NewReader(in))
		if err != nil && (users != nil || len(err.Error()) > 500 || !utf8.ValidString(err.Error())) {
			t.Errorf("got %v, %v", users, err)
		}
		for _, u := range users {
			for _, s := range append([]string{u.UserName, u.Identity, u.DisplayName}, u.Aliases...) {
				if strings.ContainsAny(s, "\r\n\x00") {
					t.Errorf("control characters in %q", s)
				}
			}
			if u.UserName == "" {
				t.Error("a user without a name")
			}
		}
	})
}

func FuzzReadDomainConfig(f *testing.F) {
	f.Add([]byte(sample(f, "4.2/domain-config")))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ReadDomainConfig(bytes.NewReader(in))
		if err == nil && (c.Domain == "" || c.Realm == "" || strings.ContainsAny(c.Domain+c.Realm, "\r\n\x00")) {
			t.Errorf("got %+v", c)
		}
	})
}

func FuzzReadSipxrestConfig(f *testing.F) {
	f.Add([]byte(sample(f, "4.2/sipxrest-config.xml")))
	f.Add([]byte(sample(f, "4.6/sipxrest-config.xml")))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ReadSipxrestConfig(bytes.NewReader(in))
		if err == nil && c.HTTPSPort+c.ExternalHTTPPort+c.HTTPPort+c.PublicHTTPPort == 0 {
			t.Errorf("got %+v", c)
		}
	})
}

func BenchmarkReadValidUsers(b *testing.B) {
	one := sample(b, "4.2/validusers.xml")
	start, end := strings.Index(one, "  <user>"), strings.Index(one, "  </user>")+len("  </user>\n")
	doc := one[:start] + strings.Repeat(one[start:end], 10000) + "</validusers>"
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadValidUsers(strings.NewReader(doc)); err != nil {
			b.Fatal(err)
		}
	}
}
