package lab

import (
	_ "embed"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed kamailio.cfg
var kamailioConfig string

// Proxy is the lab's Kamailio: registrar of Domain, challenging proxy with
// Record-Route. Every user has Password, a user without a registered phone is
// 404 Not Found.
type Proxy struct {
	*Process
	// Addr is its ip:port for UDP, TCP and, in a secure lab, WebSocket.
	Addr string
	// SecurePort is that of TLS and WebSocket over TLS in a secure lab, where the
	// certificate is for localhost and no other name.
	SecurePort int
	// CA is the file of the authority that signed the certificate, OtherCA that
	// of one that did not.
	CA, OtherCA string
}

// proxyConfig says how the proxy behaves.
type proxyConfig struct {
	routes  map[string]string // by user: a fixed address (ip:port) instead of a registered phone
	workers int               // UDP workers, default 1
	phones  int               // how many a user may have registered, default 1
	secure  bool              // it speaks TLS and WebSocket as well
}

// startProxy starts Kamailio and waits until it answers.
func startProxy(l *Lab, c proxyConfig) *Proxy {
	l.tb.Helper()
	port := Ports(l.tb, 2)
	p := &Proxy{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	modules, contact, upgrade := "", "", ""
	if c.secure {
		p.SecurePort = port + 1
		modules, contact, upgrade = l.secureProxy(p)
	}

	var fixed strings.Builder
	for _, user := range slices.Sorted(maps.Keys(c.routes)) {
		fmt.Fprintf(&fixed, "\tif ($rU == %q) {\n\t\t$du = \"sip:%s\";\n\t\troute(RELAY);\n\t}\n", user, c.routes[user])
	}
	config := l.write("kamailio.cfg", strings.NewReplacer(
		"@PORT@", strconv.Itoa(port), "@WORKERS@", strconv.Itoa(max(c.workers, 1)), "@PHONES@", strconv.Itoa(max(c.phones, 1)), "@PASSWORD@", Password,
		"@SECURE@", modules, "@CONTACT@", contact, "@UPGRADE@", upgrade, "@ROUTES@", fixed.String()).Replace(kamailioConfig))

	p.serve(l, config)
	return p
}

// serve starts Kamailio with a configuration and waits until it answers.
func (p *Proxy) serve(l *Lab, config string) {
	l.tb.Helper()
	// In the foreground (-DD), logging to stderr (-E); -Y keeps its control
	// sockets out of /run, which needs root.
	p.Process = start(l.tb, "kamailio", l.Dir, "kamailio", "-f", config, "-DD", "-E", "-m", "64", "-M", "8",
		"-Y", l.Dir, "-P", l.Dir+"/kamailio.pid")
	l.Until("kamailio answers OPTIONS", func() bool {
		select {
		case <-p.Done():
			l.tb.Fatalf("kamailio ended: %v\n%s", p.Wait(0), strings.Join(p.Lines(), "\n"))
		default:
		}
		return answersOptions(p.Addr)
	})
}

// answersOptions sends one OPTIONS and waits briefly for any answer.
func answersOptions(addr string) bool {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	local := conn.LocalAddr().String()
	fmt.Fprintf(conn, "OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d;rport\r\nMax-Forwards: 5\r\n"+
		"From: <sip:probe@%s>;tag=1\r\nTo: <sip:%s>\r\nCall-ID: %d@%s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
		addr, local, time.Now().UnixNano(), Domain, Domain, time.Now().UnixNano(), local)
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := conn.Read(make([]byte, 2000))
	return err == nil && n > 0
}
