package check

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/sipflow/siptest"
)

// Check says of each port what serve would, and knows those that the running
// service has.
func TestCheckTellsTheServicesPortsFromThoseOfOthers(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
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
	written := func(http, sip string) string {
		return apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
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
		ok = c.run(config.Source{File: file})
		return ok, b.String()
	}
	_, tcpPort, _ := net.SplitHostPort(http.Addr().String())
	_, udpPort, _ := net.SplitHostPort(udp.LocalAddr().String())
	file := written(http.Addr().String(), udp.LocalAddr().String())
	ok, out := run(file)
	wants(t, out,
		"problem listener 1 "+file+":6: http: tcp:"+http.Addr().String()+": another program has this port, not a service with data-dir "+dir+
			"/data: ss -Hlnpt 'sport = :"+tcpPort+"' tells which",
		"problem SIP "+file+":5: sip.listen: udp:"+udp.LocalAddr().String()+": another program has this port, not a service with data-dir "+dir+
			"/data: ss -Hlnpu 'sport = :"+udpPort+"' tells which",
		"answers OPTIONS with 200", "2 problems.")
	if ok || strings.Contains(out, "plain HTTP, auth pin, which") {
		t.Errorf("it finds no problem:\n%s", out)
	}

	cfg, err := config.Load(config.Source{File: written("127.0.0.1:0", "127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	s := serving(t, cfg)
	file = written(strings.TrimPrefix(s.Addrs()[0], "http://"), strings.TrimPrefix(s.Addrs()[2], "udp:"))
	ok, out = run(file)
	wants(t, out, fmt.Sprintf("ok service runs as process %d, sipxrest ", os.Getpid()), "plain HTTP, auth pin, which the running service has",
		"No problem found.")
	if !ok {
		t.Error("the service's own ports are a problem")
	}

	file = written(http.Addr().String(), strings.TrimPrefix(s.Addrs()[2], "udp:")) // a new port, which is another's
	if ok, out := run(file); ok || !strings.Contains(out, "tcp:"+http.Addr().String()+": another program has this port") {
		t.Errorf("%v:\n%s", ok, out)
	}
}

func TestCheckNoticesKeysThatHaveTheSamePort(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	file := apptest.Write(t, dir, "sipxrest.yaml",
		apptest.Minimal+fmt.Sprintf("http: [{listen: %q}]\nsip: {listen: [\"tcp:%s\"], outbound-proxy: [\"sip:127.0.0.1:1\"]}\ntrusted: []\n",
			free.Addr(), free.Addr()))
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
	c.run(config.Source{File: file})
	wants(t, b.String(), "problem SIP "+file+":4: sip.listen: tcp:"+free.Addr().String()+": http has that port, too: choose another")
}

func TestCheckNoticesACertificateForAnotherName(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	for name, names := range map[string][]string{"domain": {"sipx.test"}, "address": {"127.0.0.1"}, "other": {"www.example", "example"},
		"wild": {"*.intranet.test"}} {
		cert, key, err := web.MakeSelfSigned(names, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		apptest.Write(t, dir, name+".crt", string(cert))
		apptest.Write(t, dir, name+".key", string(key))
	}
	file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
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
		"warning listener 4 "+file+":7: http: certificate "+dir+"/other.crt is for www.example, example: who verifies it and calls this "+
			"machine sipx.test, "+host+", calls.intranet.test or 127.0.0.1 refuses it",
		"warning SIP "+file+":6: sip.tls.cert: certificate "+dir+"/other.crt is for www.example, example: who verifies it and calls this "+
			"machine sipx.test or 127.0.0.1 refuses it",
		"No problem found, 2 warnings.")
	if !ok {
		t.Error(out)
	}
}

// serving runs a service until the test's end.
func serving(t *testing.T, cfg config.Config) *app.App {
	t.Helper()
	log := apptest.NewLog()
	a, err := app.New(cfg, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	log.WaitFor(t, "sipxrest serves")
	return a
}
