package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"

	"sipxrest/sipflow/siptest"
)

// A service without the section cluster opens its own sockets alone: nothing of
// several nodes.
func TestASingleNodeOpensNoSocketMore(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	phone := siptest.NewPhone(conn, siptest.Account{User: "201"}, siptest.Script{})
	defer phone.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "sipxrest.yaml")
	err = errors.Join(os.WriteFile(filepath.Join(dir, "users.yaml"), []byte(`- {user: "201", pin: "123"}`), 0o600),
		os.WriteFile(file,
			[]byte("domain: sipx.test\ndata-dir: data\nusers: [users.yaml]\nsip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:"+
				conn.LocalAddr().String()+"]}\nhttp: [{listen: \"127.0.0.1:0\", auth: trusted}]\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, "serve", "--config", file)
	line := p.waitFor("sipxrest serves")
	told := regexp.MustCompile(`127\.0\.0\.1:([0-9]+)`).FindAllStringSubmatch(line, -1)
	var want []string
	for _, m := range told {
		want = append(want, m[1])
	}
	slices.Sort(want)
	if got := boundPorts(t, p.Process.Pid); len(want) != 2 || !slices.Equal(got, want) {
		t.Errorf("ports %q are bound, and it tells of %q", got, want)
	}
}

// boundPorts are the ports of a process' sockets of TCP and UDP, whatever they are
// connected with.
func boundPorts(t *testing.T, pid int) (ports []string) {
	t.Helper()
	inodes := map[string]bool{}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name())); err == nil && strings.HasPrefix(to, "socket:[") {
			inodes[strings.Trim(to, "socket:[]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // no IPv6
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			fields := strings.Fields(s.Text())
			if len(fields) < 10 || !inodes[fields[9]] {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			var port int
			if _, err := fmt.Sscanf(hex, "%X", &port); err != nil {
				t.Fatal(err)
			}
			ports = append(ports, fmt.Sprint(port))
		}
		f.Close()
	}
	slices.Sort(ports)
	return ports
}

// The packages of a cluster, linked in, start no goroutine by themselves.
func TestLinkingAClusterStartsNoGoroutine(t *testing.T) {
	var text strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&text, 2); err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{"sipxrest/cluster", "nats-io/"} {
		if strings.Contains(text.String(), of) {
			t.Errorf("a goroutine of %s runs:\n%s", of, text.String())
		}
	}
}
