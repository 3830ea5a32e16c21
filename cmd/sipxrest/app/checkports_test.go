package app

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

// Check says of each port what serve would, and knows those that the running
// service has.
func TestCheckTellsTheServicesPortsFromThoseOfOthers(t *testing.T) {
	_, proxy := phone(t, siptest.Script{})
	dir := t.TempDir()
	write(t, dir, "users.yaml", usersYAML)
	http, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer http.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	config := func(http, sip string) string {
		return write(t, dir, "sipxrest.yaml", minimal+fmt.Sprintf(`
data-dir: data
sip: {listen: ["udp:%s"], outbound-proxy: [sip:%s]}
http: [{listen: "%s", auth: pin}, {listen: "127.0.0.1:0", auth: pin}]
trusted: []
`, sip, proxy, http))
	}
	run := func(file string) (ok bool, out string) {
		t.Helper()
		var b strings.Builder
		c := &checker{ctx: t.Context(), out: &b, wait: 2 * time.Second, bind: bind}
		ok = c.run(Source{File: file})
		return ok, b.String()
	}
	_, tcpPort, _ := net.SplitHostPort(http.Addr().String())
	_, udpPort, _ := net.SplitHostPort(udp.LocalAddr().String())
	file := config(http.Addr().String(), udp.LocalAddr().String())
	ok, out := run(file)
	wants(t, out,
		"problem listener 1 "+file+":6: http: tcp:"+http.Addr().String()+": another program has this port, not a service with data-dir "+dir+"/data: ss -Hlnpt 'sport = :"+tcpPort+"' tells which",
		"problem SIP "+file+":5: sip.listen: udp:"+udp.LocalAddr().String()+": another program has this port, not a service with data-dir "+dir+"/data: ss -Hlnpu 'sport = :"+udpPort+"' tells which",
		"answers OPTIONS with 200", "2 problems.")
	if ok || strings.Contains(out, "plain HTTP, auth pin, which") {
		t.Errorf("it finds no problem:\n%s", out)
	}

	cfg, err := Load(Source{File: config("127.0.0.1:0", "127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, cfg)
	file = config(strings.TrimPrefix(s.Addrs()[0], "http://"), strings.TrimPrefix(s.Addrs()[2], "udp:"))
	ok, out = run(file)
	wants(t, out, fmt.Sprintf("ok service runs as process %d, sipxrest ", os.Getpid()), "plain HTTP, auth pin, which the running service has", "No problem found.")
	if !ok {
		t.Error("the service's own ports are a problem")
	}

	file = config(http.Addr().String(), strings.TrimPrefix(s.Addrs()[2], "udp:")) // a new port, which is another's
	if ok, out := run(file); ok || !strings.Contains(out, "tcp:"+http.Addr().String()+": another program has this port") {
		t.Errorf("%v:\n%s", ok, out)
	}
}

func TestCheckNoticesKeysThatHaveTheSamePort(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "users.yaml", usersYAML)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	file := write(t, dir, "sipxrest.yaml", minimal+fmt.Sprintf("http: [{listen: %q}]\nsip: {listen: [\"tcp:%s\"], outbound-proxy: [\"sip:127.0.0.1:1\"]}\ntrusted: []\n", free.Addr(), free.Addr()))
	var b strings.Builder
	held := map[string]bool{}
	c := &checker{ctx: t.Context(), out: &b, wait: 50 * time.Millisecond, bind: func(network, address string) (io.Closer, error) {
		socket, err := bind(network, address) // the port was free a moment ago, and may be another test's by now
		if held[address] && err == nil {
			t.Errorf("%s could be opened twice: they are not tried at once", address)
		}
		held[address] = true
		return socket, err
	}}
	c.run(Source{File: file})
	wants(t, b.String(), "problem SIP "+file+":4: sip.listen: tcp:"+free.Addr().String()+": http has that port, too: choose another")
}

func TestCheckNoticesACertificateForAnotherName(t *testing.T) {
	_, proxy := phone(t, siptest.Script{})
	dir := t.TempDir()
	write(t, dir, "users.yaml", usersYAML)
	for name, names := range map[string][]string{"domain": {"sipx.test"}, "address": {"127.0.0.1"}, "other": {"www.example", "example"}, "wild": {"*.intranet.test"}} {
		cert, key, err := makeSelfSigned(names, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name+".crt", string(cert))
		write(t, dir, name+".key", string(key))
	}
	file := write(t, dir, "sipxrest.yaml", minimal+fmt.Sprintf(`
trusted: []
http-names: [calls.intranet.test]
sip: {listen: [udp:127.0.0.1:0, "tls:127.0.0.1:0"], outbound-proxy: [sip:%s], tls: {cert: other.crt, key: other.key}}
http:
- {listen: "127.0.0.1:1", tls: {cert: domain.crt, key: domain.key}}
- {listen: "127.0.0.1:2", tls: {cert: address.crt, key: address.key}}
- {listen: "127.0.0.1:3", tls: {cert: wild.crt, key: wild.key}}
- {listen: "127.0.0.1:4", tls: {cert: other.crt, key: other.key}}
- {listen: "127.0.0.1:5", tls: {}}
`, proxy))
	ok, out := checked(t, file)
	host, _ := os.Hostname()
	wants(t, out,
		"warning listener 4 "+file+":7: http: certificate "+dir+"/other.crt is for www.example, example: who verifies it and calls this machine sipx.test, "+host+", calls.intranet.test or 127.0.0.1 refuses it",
		"warning SIP "+file+":6: sip.tls.cert: certificate "+dir+"/other.crt is for www.example, example: who verifies it and calls this machine sipx.test or 127.0.0.1 refuses it",
		"No problem found, 2 warnings.")
	if !ok {
		t.Error(out)
	}
}
