package app

import (
	"bufio"
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sipxrest/cmd/sipxrest/config"
)

// BenchmarkKeepAlive is a request on a connection that is kept, through all that a
// listener of "http" has before and behind the resource. No call is placed: the
// resource refuses the POST. The client allocates nothing.
func BenchmarkKeepAlive(b *testing.B) {
	for _, bc := range []struct{ name, request, status string }{
		{"GET", "GET /callcontroller/201/202", "HTTP/1.1 200 OK"},
		{"refused POST", "POST /callcontroller/201/202?timeout=x", "HTTP/1.1 400 Bad Request"},
	} {
		b.Run(bc.name, func(b *testing.B) {
			dir := b.TempDir()
			cfg := config.Default()
			cfg.Domain, cfg.DataDir, cfg.Users = "sipx.test", filepath.Join(dir, "data"), []string{filepath.Join(dir, "users.yaml")}
			cfg.SIP.Listen, cfg.SIP.OutboundProxy = []string{"udp:127.0.0.1:0"}, []string{"sip:127.0.0.1:9"}
			cfg.HTTP = []config.HTTPListener{{Listen: "127.0.0.1:0", Auth: "trusted"}}
			cfg.Trusted = []string{"127.0.0.0/8"}
			if err := os.WriteFile(cfg.Users[0], []byte(`- {user: "201", pin: "123", sip-password: "123"}`), 0o600); err != nil {
				b.Fatal(err)
			}
			a, err := New(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			signals, ended := make(chan os.Signal), make(chan error, 1)
			go func() { ended <- a.Serve(signals) }()
			defer func() {
				signals <- syscall.SIGTERM
				if err := <-ended; err != nil {
					b.Error(err)
				}
			}()
			c, err := net.Dial("tcp", strings.TrimPrefix(a.Addrs()[0], "http://"))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			in, request := bufio.NewReader(c), []byte(bc.request+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
			ask := func() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				if err := skipResponse(in, bc.status); err != nil {
					b.Fatal(err)
				}
			}
			ask()
			b.ReportAllocs()
			for b.Loop() {
				ask()
			}
		})
	}
}

// skipResponse reads a response that has a Content-Length, and allocates nothing.
func skipResponse(in *bufio.Reader, status string) error {
	line, err := in.ReadSlice('\n')
	if err == nil && string(bytes.TrimSpace(line)) != status {
		err = errors.New(string(line))
	}
	length := 0
	for err == nil && len(line) > len("\r\n") {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			for _, digit := range bytes.TrimSpace(n) {
				length = 10*length + int(digit-'0')
			}
		}
	}
	if err == nil {
		_, err = in.Discard(length)
	}
	return err
}
