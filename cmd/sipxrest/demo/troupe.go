package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

// members is how many stores and how many nodes play.
const members = 3

// clusterPath is the call of 201 to 202 that goes on through the node.
const clusterPath = path + "?sipMethod=invite"

// digit is what a phone says when somebody presses a key (RFC 6086).
var digit = siptest.Action{Method: sip.INFO, Body: "Signal=5\r\nDuration=160\r\n", ContentType: "application/dtmf-relay"}

// troupe is everything that plays: stores and nodes, each a process, the proxy and two phones.
type troupe struct {
	out             io.Writer
	opts            ClusterOptions
	dir             string
	proxy           *siptest.Proxy
	calling, called *siptest.Phone
	voices          []*siptest.Voice
	stores, nodes   []*player
	client          *http.Client
	failed          bool
}

func newTroupe(ctx context.Context, opts ClusterOptions, out io.Writer) (_ *troupe, err error) {
	s := &troupe{out: &lockedWriter{w: out}, opts: opts, client: newClient()}
	if opts.Logs != nil {
		s.opts.Logs = &lockedWriter{w: opts.Logs}
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w%s", err, s.lastWords()), s.close())
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, clusterPatience, fmt.Errorf("not started after %v", clusterPatience))
	defer cancel()
	if s.dir, err = os.MkdirTemp("", "sipxrest-demo-"); err != nil {
		return nil, err
	}
	if err := s.startPhones(ctx); err != nil {
		return nil, err
	}
	if err := s.startStores(ctx); err != nil {
		return nil, err
	}
	return s, s.startNodes(ctx)
}

func (s *troupe) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// startPhones starts the proxy and two phones with audio, and registers them.
func (s *troupe) startPhones(ctx context.Context) error {
	socket, err := listen()
	if err != nil {
		return err
	}
	s.proxy = siptest.NewProxy(socket, siptest.ProxyConfig{Domain: domain, Users: passwords})
	for user, phone := range map[string]**siptest.Phone{"201": &s.calling, "202": &s.called} {
		signalling, err := listen()
		if err != nil {
			return err
		}
		audio, err := listen()
		if err != nil {
			signalling.Close()
			return err
		}
		sdp := siptest.VoiceSDP(user, audio)
		*phone = siptest.NewPhone(signalling, siptest.Account{User: user, Domain: domain, Password: passwords[user], Proxy: s.proxy.Addr()},
			siptest.Script{Ring: ring, SDP: sdp, Reinvite: siptest.Reinvite{SDP: sdp}})
		s.voices = append(s.voices, siptest.NewVoice(audio, (*phone).Heard))
		if err := (*phone).Register(ctx); err != nil {
			return fmt.Errorf("phone %s: %w", user, err)
		}
	}
	return nil
}

// ports are free ones of 127.0.0.1. Somebody could take one before it is used: then the
// process that wanted it says so, and the demo has to be started again.
func ports(n int) (all []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		all = append(all, l.Addr().(*net.TCPAddr).Port)
	}
	return all, nil
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func (s *troupe) startStores(ctx context.Context) error {
	free, err := ports(2 * members)
	if err != nil {
		return err
	}
	var peers []string
	for i := range members {
		peers = append(peers, fmt.Sprintf("%q", loopback(free[members+i])))
	}
	for i := range members {
		p := &player{name: fmt.Sprintf("store %d", i+1), addr: loopback(free[i])}
		file := filepath.Join(s.dir, fmt.Sprintf("store%d", i+1))
		text := fmt.Sprintf("store: {listen: %q, route-port: %d, peers: [%s], dir: %q}\n", p.addr, free[members+i], strings.Join(peers, ", "), file)
		if err := s.start(p, "the store serves", "store", file+".yaml", text); err != nil {
			return err
		}
		s.stores = append(s.stores, p)
	}
	return s.awaitReady(ctx, s.stores)
}

// clusterNode is the configuration of a node, as an operator would write it.
const clusterNode = `domain: %[1]s
data-dir: %[2]q
users: [%[3]q]
sip: {listen: ["udp:%[4]s"], outbound-proxy: ["sip:%[5]s"]}
http: [{listen: %[6]q, tls: {cert: "", key: ""}, auth: trusted-or-pin}]
trusted: []
drain: 1s
metrics: {listen: %[9]q}
cluster: {node: node%[7]d, nats: [%[8]s]}
`

func (s *troupe) startNodes(ctx context.Context) error {
	users := filepath.Join(s.dir, "users.yaml")
	if err := os.WriteFile(users, fmt.Appendf(nil, "- {user: \"201\", name: Bob Caller, pin: %q, sip-password: %q}\n", pin, passwords["201"]), 0o600); err != nil {
		return err
	}
	free, err := ports(3 * members)
	if err != nil {
		return err
	}
	var stores []string
	for _, p := range s.stores {
		stores = append(stores, fmt.Sprintf("%q", "nats://"+p.addr))
	}
	for i := range members {
		p := &player{name: fmt.Sprintf("node %d", i+1), addr: loopback(free[i]), sip: loopback(free[members+i]), health: loopback(free[2*members+i])}
		file := filepath.Join(s.dir, fmt.Sprintf("node%d", i+1))
		text := fmt.Sprintf(clusterNode, domain, file, users, p.sip, s.proxy.Addr(), p.addr, i+1, strings.Join(stores, ", "), p.health)
		if err := s.start(p, "sipxrest serves", "serve", file+".yaml", text); err != nil {
			return err
		}
		s.nodes = append(s.nodes, p)
	}
	if err := s.awaitReady(ctx, s.nodes); err != nil {
		return err
	}
	for _, p := range s.nodes {
		if !s.await(ctx, clusterPatience, func() bool { return s.ready(ctx, p) }) {
			return fmt.Errorf("%s does not take calls", p.name)
		}
	}
	return nil
}

// start writes a configuration and starts a process by it.
func (s *troupe) start(p *player, serves, command, file, text string) error {
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return startPlayer(p, s.opts.Logs, serves, s.opts.Program, command, "--config", file)
}

// awaitReady waits until all have said that they serve.
func (s *troupe) awaitReady(ctx context.Context, all []*player) error {
	for _, p := range all {
		select {
		case <-p.ready:
		case <-p.done:
			return fmt.Errorf("%s has ended", p.name)
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", p.name, context.Cause(ctx))
		}
	}
	return nil
}

// ready asks a node as a balancer does.
func (s *troupe) ready(ctx context.Context, p *player) bool {
	code, _, err := s.send(ctx, http.MethodGet, "http://"+p.health+"/readyz")
	return err == nil && code == http.StatusOK
}

// ask sends a request for the call to a node.
func (s *troupe) ask(ctx context.Context, method string, p *player) (code int, body string, err error) {
	return s.send(ctx, method, "https://"+p.addr+clusterPath)
}

func (s *troupe) send(ctx context.Context, method, url string) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.SetBasicAuth("201", pin)
	res, err := s.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxDocument))
	return res.StatusCode, string(text), err
}

// curl is the command line that does the same.
func (s *troupe) curl(method string, p *player) string {
	return fmt.Sprintf("curl -k -u 201:%s -X %s 'https://%s%s'", pin, method, p.addr, clusterPath)
}

// list names the addresses of some processes.
func (s *troupe) list(all []*player) string {
	var texts []string
	for _, p := range all {
		texts = append(texts, p.addr)
	}
	return strings.Join(texts, ", ")
}

// talk reports whether each phone is in one call, and hears something.
func (s *troupe) talk() bool {
	return s.calling.Dialogs() == 1 && s.called.Dialogs() == 1 && s.calling.Acked() && s.called.Acked() &&
		strings.Contains(s.calling.Heard(), "m=audio") && strings.Contains(s.called.Heard(), "m=audio")
}

// at reports whether both phones would send their next request to a node.
func (s *troupe) at(p *player) bool { return s.calling.Peer() == p.sip && s.called.Peer() == p.sip }

// confirmed counts the phones that a document says are in the call.
func confirmed(document string) int { return strings.Count(document, "Confirmed Dialog") }

// look is how long await waits between two looks.
const look = 20 * time.Millisecond

// await asks until cond is true, and reports whether it was in time.
func (s *troupe) await(ctx context.Context, limit time.Duration, cond func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// lastWords is the end of each process's log, for what went wrong.
func (s *troupe) lastWords() string {
	var text strings.Builder
	for _, p := range append(append([]*player(nil), s.stores...), s.nodes...) {
		text.WriteString("\n  " + p.log())
	}
	return text.String()
}

// close ends the phones, then all processes, nodes first, and removes the files.
func (s *troupe) close() error {
	for _, p := range []*siptest.Phone{s.calling, s.called} {
		if p != nil {
			p.HangUp()
		}
	}
	for _, all := range [][]*player{s.nodes, s.stores} {
		ended := make(chan struct{})
		for _, p := range all {
			go func() { p.end(); ended <- struct{}{} }()
		}
		for range all {
			<-ended
		}
	}
	for _, v := range s.voices {
		v.Close()
	}
	for _, p := range []*siptest.Phone{s.calling, s.called} {
		if p != nil {
			p.Close()
		}
	}
	if s.proxy != nil {
		s.proxy.Close()
	}
	s.client.CloseIdleConnections()
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}
