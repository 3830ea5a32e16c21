package lab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Guide is a page of docs/pbx that is followed to the letter: its PBX, and sipxrest
// beside it, have the configurations of the page. Only addresses, the domain and the
// password become those of the lab.
type Guide struct {
	*Lab
	// Files are the blocks of the page, by the name in their first line.
	Files map[string]string
	// Check is what the page has `sipxrest check` say, but for "…".
	Check []string

	checkArgs []string // what the page calls check with
	sip       string   // sipxrest's ip:port
}

// The addresses and words of the pages.
const (
	guidePBX     = "192.0.2.10"
	guideService = "192.0.2.20"
	guideDomain  = "pbx.example"
	guideSecret  = "SIPSECRET"
	// guideIP is where sipxrest is, so that a PBX can tell it from phones.
	guideIP = "127.0.0.3"
)

var (
	guideBlock = regexp.MustCompile("(?ms)^```(?:ya?ml)?\n([#;] ([\\w-]+\\.\\w+)(?:, ([^\n]+))?\n.*?)^```$")
	guideCheck = regexp.MustCompile("(?ms)^```console\n\\$ sipxrest check([^\n#]*)(?:# ([^\n]+))?\n(.*?)^```$")
)

// StartGuide reads a page and starts its PBX. A variant of the page, "by digest",
// has files of its own in place of others or beside them.
func StartGuide(tb testing.TB, page, variant string) *Guide {
	tb.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		tb.Fatal(err)
	}
	g := &Guide{Lab: &Lab{tb: tb, Dir: folder(tb)}, Files: map[string]string{},
		sip: net.JoinHostPort(guideIP, strconv.Itoa(Ports(tb, 1)))}
	pbx := net.JoinHostPort("127.0.0.1", strconv.Itoa(Ports(tb, 1)))
	words := strings.NewReplacer(guidePBX+":5060", pbx, guideService+":6050", g.sip, guidePBX, "127.0.0.1", guideService, guideIP,
		guideDomain, Domain, guideSecret, Password)
	found := map[string]bool{}
	for _, m := range guideBlock.FindAllStringSubmatch(string(text), -1) {
		block, name, of := m[1], m[2], m[3]
		if found[name+of] {
			tb.Fatalf("%s has two blocks for %s %s", page, name, of)
		}
		found[name+of] = true
		if of == variant || of == "" && !found[name+variant] {
			g.Files[name] = words.Replace(block)
		}
	}
	for _, m := range guideCheck.FindAllStringSubmatch(string(text), -1) {
		if m[2] == variant {
			g.checkArgs = strings.Fields(m[1])
			g.Check = slices.DeleteFunc(strings.Split(strings.TrimSpace(words.Replace(m[3])), "\n"), func(line string) bool { return line == "…" })
		}
	}
	g.Proxy = &Proxy{Addr: pbx}
	Need(tb, "baresip", "curl")
	if config := g.Files["kamailio.cfg"]; config != "" {
		Need(tb, "kamailio")
		g.Proxy.serve(g.Lab, g.write("kamailio.cfg", config))
	} else {
		g.Proxy.serveAsterisk(g.Lab, g.Files)
	}
	return g
}

// Service starts sipxrest with the page's configuration and users.
func (g *Guide) Service() *Service {
	g.tb.Helper()
	program := build(g.tb)
	addr := func() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(Ports(g.tb, 1))) }
	secure, internal := addr(), addr()
	g.write("users.yaml", g.Files["users.yaml"])
	base := g.Files["sipxrest.yaml"] + fmt.Sprintf("http:\n  - {listen: %q, tls: {}, auth: trusted-or-pin}\n  - {listen: %q, auth: trusted}\n"+
		"trusted: [%s/32]\ndrain: 0s\n", secure, internal, TrustedIP)
	s := &Service{lab: g.Lab, base: base, SIP: g.sip, Secure: "https://" + secure, Internal: "http://" + internal}
	s.serve(program, g.write("sipxrest.yaml", base))
	return s
}

// Checks runs `sipxrest check` as the page does and returns what it says, and whether
// all was well.
func (g *Guide) Checks() (said []string, ok bool) {
	g.tb.Helper()
	args := append([]string{"check", "--config", filepath.Join(g.Dir, "sipxrest.yaml")}, g.checkArgs...)
	out, err := exec.CommandContext(g.tb.Context(), build(g.tb), args...).CombinedOutput()
	return strings.Split(strings.TrimSpace(string(out)), "\n"), err == nil
}
