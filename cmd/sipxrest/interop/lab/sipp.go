package lab

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed scenarios/*.xml
var scenarios embed.FS

// SIPp starts a SIPp that plays a scenario of folder scenarios as a phone at
// port, for calls many times, and waits until it listens. The proxy sends
// calls to it by a route given to Start. more are further arguments. Its
// messages are in the lab's folder.
func (l *Lab) SIPp(scenario string, port, calls int, more ...string) *Process {
	l.tb.Helper()
	text, err := scenarios.ReadFile("scenarios/" + scenario + ".xml")
	if err != nil {
		l.tb.Fatal(err)
	}
	name := "sipp-" + scenario
	file := l.write(name+".xml", string(text))
	// -cp: its control port would be 8888 for every SIPp of the machine.
	args := append([]string{"sipp", "-sf", file, "-i", "127.0.0.1", "-p", strconv.Itoa(port), "-m", strconv.Itoa(calls),
		"-nostdin", "-cp", strconv.Itoa(Ports(l.tb, 1)), "-trace_msg", "-message_file", filepath.Join(l.Dir, name+".msg"),
		"-trace_err", "-error_file", filepath.Join(l.Dir, name+".err"), "-timeout", "60", "-timeout_error"}, more...)
	p := start(l.tb, name, l.Dir, args...)
	l.Until(name+" listens", func() bool { return udpBound(port) })
	return p
}

// SIPpPassed waits until SIPp has played its calls and fails the test when one
// of them did not go as its scenario says.
func (l *Lab) SIPpPassed(p *Process) {
	l.tb.Helper()
	if err := p.Wait(Patience); err != nil {
		l.tb.Fatalf("%s: %v\n%s", p.Name, err, strings.Join(p.Lines(), "\n"))
	}
}

// udpBound tells whether a socket has this UDP port. Asking by binding the
// port could take it from the program that is about to.
func udpBound(port int) bool {
	table, err := os.ReadFile("/proc/net/udp")
	return err == nil && strings.Contains(string(table), fmt.Sprintf(":%04X 00000000:0000 ", port))
}
