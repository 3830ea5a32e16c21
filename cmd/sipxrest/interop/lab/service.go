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
	"sync"
	"testing"
)

// TrustedIP is the one address that the service trusts: a client that binds it
// is asked for no PIN, the others of loopback are.
const TrustedIP = "127.0.0.2"

// Service is the real sipxrest.
type Service struct {
	*Process
	// Secure is the base URL of the HTTPS listener (trusted-or-pin), Plain that
	// of the HTTP one (pin), Internal that of the trusted one.
	Secure, Plain, Internal string
	// SIP is its ip:port for UDP and TCP.
	SIP string

	lab  *Lab
	base string // its configuration but for the lines of the test
}

var built struct {
	sync.Once
	dir, path string
	err       error
}

// build returns the path of sipxrest: that of $SIPXREST, or one built from the
// working tree once for all tests, with the race detector if $LAB_RACE is set.
func build(tb testing.TB) string {
	tb.Helper()
	built.Do(func() {
		if path := os.Getenv("SIPXREST"); path != "" {
			built.path, built.err = filepath.Abs(path)
			return
		}
		if built.dir, built.err = os.MkdirTemp("", "lab-bin-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "sipxrest")
		args := []string{"build", "-o", built.path}
		if os.Getenv("LAB_RACE") != "" {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, "sipxrest/cmd/sipxrest")...).CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build sipxrest/cmd/sipxrest: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		tb.Fatal(built.err)
	}
	return built.path
}

// Clean removes the binary that was built for the tests. TestMain calls it.
func Clean() {
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
}

// crash is what no log of the service may hold. A password is among it: PINs
// and HA1 are not for logs.
var crash = regexp.MustCompile(`DATA RACE|^panic:|^fatal error:|"?\b(pin|sip-password|ha1)"?[=:] ?"?` + Password + `\b`)

const serviceConfig = `domain: %[1]s
realm: %[1]s
data-dir: %[2]s/data
sip:
  listen: ["udp:%[3]s", "tcp:%[3]s"%[10]s]
  outbound-proxy: ["%[4]s"]
%[9]shttp:
  - {listen: "%[5]s", tls: {cert: "", key: ""}, auth: trusted-or-pin}
  - {listen: "%[6]s", auth: pin}
  - {listen: "%[7]s", auth: trusted}
trusted: [%[8]s/32]
users: [%[2]s/users.yaml]
`

// Service starts sipxrest for the users 201 to 209 (201 has the alias bob) and
// waits until it serves. more are further lines of its configuration; without
// a "drain:" among them it hangs up at once when it is stopped.
func (l *Lab) Service(more ...string) *Service {
	l.tb.Helper()
	return l.service("", "sip:"+l.Proxy.Addr, "", "", more)
}

// ServiceAt is Service at an ip:port of its own: calls that come in are routed
// there before it is started.
func (l *Lab) ServiceAt(sip string, more ...string) *Service {
	l.tb.Helper()
	return l.service(sip, "sip:"+l.Proxy.Addr, "", "", more)
}

// SecureService is Service with further sockets for TLS and WebSocket, which
// reaches the proxy by a transport of its own: tls, ws or wss. ca is the file of
// the authorities that it knows.
func (l *Lab) SecureService(transport, ca string, more ...string) *Service {
	l.tb.Helper()
	port := l.Proxy.SecurePort
	if transport == "ws" {
		port--
	}
	first := Ports(l.tb, 3)
	return l.service("", fmt.Sprintf("sip:localhost:%d;transport=%s", port, transport),
		fmt.Sprintf(", \"tls:127.0.0.1:%d\", \"ws:127.0.0.1:%d\", \"wss:127.0.0.1:%d\"", first, first+1, first+2), "  tls: {ca: "+ca+"}\n", more)
}

func (l *Lab) service(sip, proxy, listen, lines string, more []string) *Service {
	l.tb.Helper()
	program := build(l.tb)
	var users strings.Builder
	for user := 201; user <= 209; user++ {
		alias := ""
		if user == 201 {
			alias = ", aliases: [bob]"
		}
		fmt.Fprintf(&users, "- {user: \"%d\", name: User %d%s, pin: \"%s\", sip-password: \"%s\"}\n", user, user, alias, Password, Password)
	}
	l.write("users.yaml", users.String())
	addr := func() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(Ports(l.tb, 1))) }
	secure, plain, internal := addr(), addr(), addr()
	if sip == "" {
		sip = addr()
	}
	if !slices.ContainsFunc(more, func(line string) bool { return strings.HasPrefix(line, "drain:") }) {
		more = append(more, "drain: 0s")
	}
	base := fmt.Sprintf(serviceConfig, Domain, l.Dir, sip, proxy, secure, plain, internal, TrustedIP, lines, listen)
	config := l.write("sipxrest.yaml", base+strings.Join(more, "\n")+"\n")
	s := &Service{lab: l, base: base, SIP: sip, Secure: "https://" + secure, Plain: "http://" + plain, Internal: "http://" + internal}
	s.serve(program, config)
	return s
}

// serve starts the program and waits until it serves.
func (s *Service) serve(program, config string) {
	l, tb := s.lab, s.lab.tb
	tb.Helper()
	tb.Cleanup(func() { // runs when it has been stopped
		for _, line := range s.Lines() {
			if crash.MatchString(line) {
				tb.Errorf("sipxrest: %s: see its log", line)
			}
		}
	})
	s.Process = start(tb, "sipxrest", l.Dir, program, "serve", "--config", config)
	if _, err := s.AwaitLine(0, regexp.MustCompile(`sipxrest serves`), Patience); err != nil {
		tb.Fatalf("%v\n%s", err, strings.Join(s.Lines(), "\n"))
	}
}

// AwaitDraining waits until the service says that it shuts down.
func (s *Service) AwaitDraining() {
	s.lab.tb.Helper()
	if _, err := s.AwaitLine(0, regexp.MustCompile(`shutting down`), Patience); err != nil {
		s.lab.tb.Fatal(err)
	}
}
