package wire

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// torture reads a message of RFC 4475, named as in its appendix.
func torture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "torture", name+".dat"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The messages of RFC 4475 that the parser accepts, with what could be misread.
// Those of §3.3 and §3.4 whose fault is not in the form (unknown scheme, an
// extension, no forwards left) are for those who act on them.
var tortureAccepted = map[string]struct {
	start  string // method and Request-URI, or the status line
	from   string // URI and tag
	to     string
	body   int
	branch string
}{
	// §3.1.1: valid
	"wsinv": {"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam", "sip:jdrosen@example.com 98asjd8",
		"sip:vivekg@chair-dnrc.example.com 1918181833n", 150, "390skdjuw"},
	"intmeth": {"!interesting-Method0123456789_*+`.%indeed'~ " +
		"sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
		"sip:mundane@example.com _token~1'+`*%!-.", "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com ", 0,
		"z9hG4bK-.!%66*_+`'~"},
	"esc01": {"INVITE sip:sips%3Auser%40example.com@example.net", "sip:I%20have%20spaces@example.net 938", "sip:%75se%72@example.com ",
		150, "z9hG4bKkdjuw"},
	"escnull": {"REGISTER sip:example.com", "sip:null-%00-null@example.com 839923423", "sip:null-%00-null@example.com ", 0, "z9hG4bKkdjuw"},
	"esc02": {"RE%47IST%45R sip:registrar.example.com", "sip:resource@example.com f232jadfj23", "sip:resource@example.com ", 0,
		"z9hG4bK209%fzsnel234"},
	"lwsdisp": {"OPTIONS sip:user@example.com", "sip:caller@example.com 323", "sip:user@example.com ", 0, "z9hG4bKkdjuw"},
	"longreq": {"INVITE sip:user@example.com", "", "", 150, ""},
	"dblreq":  {"REGISTER sip:example.com", "sip:j.user@example.com 43251j3j324", "sip:j.user@example.com ", 0, "z9hG4bKkdjuw23492"},
	"semiuri": {"OPTIONS sip:user;par=u%40example.net@example.com", "sip:caller@example.org 33242", "sip:j_user@example.com ", 0,
		"z9hG4bKkdjuw"},
	"transports": {"OPTIONS sip:user@example.com", "sip:caller@example.com 323", "sip:user@example.com ", 0, "z9hG4bKkdjuw"},
	"mpart01": {"MESSAGE sip:kumiko@example.org", "sip:fluffy@example.com 2fb0dcc9", "sip:kumiko@example.org ", 553,
		"z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-"},
	"unreason": {"SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое", "", "", 154, ""},
	"noreason": {"SIP/2.0 100 ", "sip:user@example.com 39ansfi3", "sip:user@example.edu 902jndnke3", 0, "z9hG4bK2398ndaoe"},
	// §3.1.2: invalid where this parser does not look: Contact, Date, SDP; a
	// Via whose parameters are odd; blanks inside of angle brackets
	"badinv01": {"INVITE sip:user@example.com", "", "", 152, ""},
	"escruri":  {"INVITE sip:user@example.com?Route=%3Csip:example.com%3E", "", "", 150, ""},
	"baddate":  {"INVITE sip:user@example.com", "", "", 150, ""},
	"regbadct": {"REGISTER sip:example.com", "", "", 0, ""},
	"badaspec": {"OPTIONS sip:user@example.org", "sip:a.g.bell@example.com 433423", "sip:t.watson@example.org ", 0, "z9hG4bKkdju43234"},
	"bcast":    {"SIP/2.0 200 OK", "", "", 154, ""},
	// §3.2, §3.3, §3.4
	"badbranch": {"OPTIONS sip:user@example.com", "", "", 0, "z9hG4bK"},
	"unkscm":    {"OPTIONS nobodyKnowsThisScheme:totallyopaquecontent", "", "", 0, ""},
	"novelsc":   {"OPTIONS soap.beep://192.0.2.103:3002", "", "", 0, ""},
	"unksm2":    {"REGISTER sip:example.com", "", "", 0, ""},
	"bext01":    {"OPTIONS sip:user@example.com", "", "", 0, ""},
	"invut":     {"INVITE sip:user@example.com", "", "", 40, ""},
	"regaut01":  {"REGISTER sip:example.com", "", "", 0, ""},
	"zeromf":    {"OPTIONS sip:user@example.com", "", "", 0, ""},
	"cparam01":  {"REGISTER sip:example.com", "", "", 0, ""},
	"cparam02":  {"REGISTER sip:example.com", "", "", 0, ""},
	"regescrt":  {"REGISTER sip:example.com", "", "", 0, ""},
	"sdp01":     {"INVITE sip:user@example.com", "", "", 150, ""},
	"inv2543": {"INVITE sip:UserB@example.com", "sip:+13035551111@ift.client.example.net;user=phone ", "sip:+16505552222@ss1.example.net ",
		105, ""},
}

// The messages whose form is wrong, with the status that their sender gets.
var tortureRefused = map[string]struct {
	code   int
	reason string
}{
	"clerr":      {400, "Content-Length Exceeds The Message"}, // §3.1.2.2
	"ncl":        {400, "Malformed Content-Length"},           // §3.1.2.3
	"scalar02":   {400, "Malformed CSeq"},                     // §3.1.2.4
	"scalarlg":   {400, "Malformed CSeq"},                     // §3.1.2.5: a response, dropped
	"quotbal":    {400, "Malformed To"},                       // §3.1.2.6
	"ltgtruri":   {400, "Malformed Request-URI"},              // §3.1.2.7
	"lwsruri":    {400, "Malformed Request-URI"},              // §3.1.2.8
	"lwsstart":   {400, "Malformed Request-URI"},              // §3.1.2.9
	"trws":       {400, "Malformed Request Line"},             // §3.1.2.10
	"baddn":      {400, "No Empty Line After The Header"},     // §3.1.2.15: the file ends within the header, too
	"badvers":    {505, "Version Not Supported"},              // §3.1.2.16
	"mismatch01": {400, "CSeq Method Is Not The Request's"},   // §3.1.2.17
	"mismatch02": {400, "CSeq Method Is Not The Request's"},   // §3.1.2.18
	"bigcode":    {400, "Malformed Status Line"},              // §3.1.2.19: a response, dropped
	"insuf":      {400, "Missing From"},                       // §3.3.1
	"multi01":    {400, "Repeated From"},                      // §3.3.8
	"mcl01":      {400, "Repeated Content-Length"},            // §3.3.9
}

func TestTortureMessagesAreReadAsTheyAreMeant(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "torture", "*.dat"))
	if err != nil || len(files) != 49 || len(tortureAccepted)+len(tortureRefused) != 49 {
		t.Fatalf("RFC 4475 has 49 messages; %d files, %d accepted, %d refused, %v", len(files), len(tortureAccepted), len(tortureRefused), err)
	}
	describe := func(v []byte) string {
		uri, _ := NameAddr(v)
		return string(uri) + " " + string(Tag(v))
	}
	for name, want := range tortureAccepted {
		t.Run(name, func(t *testing.T) {
			m, err := Parse(torture(t, name))
			if err != nil {
				t.Fatal(err)
			}
			start := m.Method() + " " + string(m.URI())
			if !m.IsRequest() {
				start = m.StatusLine()
			}
			if start != want.start {
				t.Errorf("start %q, want %q", start, want.start)
			}
			if got := describe(m.Get(From)); want.from != "" && got != want.from {
				t.Errorf("From %q, want %q", got, want.from)
			}
			if got := describe(m.Get(To)); want.to != "" && got != want.to {
				t.Errorf("To %q, want %q", got, want.to)
			}
			if len(m.Body()) != want.body {
				t.Errorf("body of %d bytes, want %d", len(m.Body()), want.body)
			}
			via, ok := m.TopVia()
			if want.branch != "" && (!ok || string(via.Branch) != want.branch) {
				t.Errorf("branch %q, %v; want %q", via.Branch, ok, want.branch)
			}
			if !ok {
				return
			}
			if _, err := Parse(AppendReply(nil, m, netip.MustParseAddrPort("192.0.2.1:5060"), Reply{Code: 200, ToTag: "t"})); err != nil &&
				m.IsRequest() {
				t.Errorf("the answer cannot be read: %v", err)
			}
		})
	}
	for name, want := range tortureRefused {
		t.Run(name, func(t *testing.T) {
			m, err := Parse(torture(t, name))
			var pe *ParseError
			if !errors.As(err, &pe) || pe.Code != want.code || pe.Reason != want.reason {
				t.Fatalf("got %v, want %d %s", err, want.code, want.reason)
			}
			if m == nil {
				t.Fatal("nothing is left to answer with")
			}
			if isResponse := strings.HasPrefix(string(torture(t, name)), "SIP/2.0"); isResponse && m.IsRequest() && m.Method() != "" {
				t.Error("a response passes for a request, which would be answered")
			}
		})
	}
}
