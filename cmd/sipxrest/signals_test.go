package main

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

// A program is sipxrest as a process of its own.
type program struct {
	*exec.Cmd
	t     *testing.T
	lines chan string // what it logs; closed when it ends
}

func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{exec.Command(os.Args[0], args...), t, make(chan string, 1000)}
	p.Env = append(os.Environ(), "RUN_AS_PROGRAM=1")
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // if it has not ended by itself
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.lines <- s.Text()
		}
		close(p.lines)
	}()
	return p
}

// waitFor answers the next line that holds want.
func (p *program) waitFor(want string) string {
	p.t.Helper()
	limit := time.After(30 * time.Second)
	var seen []string
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("it ended without saying %q:\n%s", want, strings.Join(seen, "\n"))
			}
			if seen = append(seen, line); strings.Contains(line, want) {
				return line
			}
		case <-limit:
			p.t.Fatalf("it does not say %q:\n%s", want, strings.Join(seen, "\n"))
		}
	}
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// end answers the exit code.
func (p *program) end() int {
	for range p.lines { // Wait may be called once all is read
	}
	_ = p.Wait()
	return p.ProcessState.ExitCode()
}

func TestTheProgramObeysItsSignals(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	phone := siptest.NewPhone(conn, siptest.Account{User: "201"}, siptest.Script{NeverAnswer: true})
	defer phone.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "sipxrest.yaml")
	for name, text := range map[string]string{
		"users.yaml": `- {user: "201", pin: "123"}`,
		"sipxrest.yaml": `
domain: sipx.test
data-dir: data
sip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:` + conn.LocalAddr().String() + `]}
http: [{listen: "127.0.0.1:0", tls: {}}, {listen: "127.0.0.1:0", auth: trusted}]
trusted: [127.0.0.1]
users: [users.yaml]
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := startProgram(t, "serve", "--config", file)
	line := p.waitFor("sipxrest serves")
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(line)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	post := func() int {
		resp, err := client.Post(url+"/callcontroller/201/202", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	health := func(want int, says string) {
		t.Helper()
		if code, out, stderr := command("", nil, "health", "--ready", "--config", file); code != want || !strings.Contains(out+stderr, says) {
			t.Errorf("sipxrest health: code %d, %s%s", code, out, stderr)
		}
	}
	health(0, "runs as process")
	p.signal(syscall.SIGHUP)
	p.waitFor("reloaded")
	if code, out, stderr := command("", nil, "reload", "--config", file); code != 0 || out != "Reloaded.\n" || stderr != "" {
		t.Errorf("sipxrest reload: code %d, %q %q", code, out, stderr)
	}
	users := filepath.Join(dir, "users.yaml")
	if err := errors.Join(os.Remove(users), syscall.Mkfifo(users, 0o600)); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := command("", nil, "reload", "--config", file); code != 1 || !strings.Contains(stderr, "not reloaded: users: ") ||
		!strings.Contains(stderr, "but a pipe") {
		t.Errorf("sipxrest reload: code %d, %q", code, stderr)
	}
	p.waitFor("reload failed")
	if code := post(); code != 200 {
		t.Fatalf("POST: %d", code)
	}
	p.signal(syscall.SIGTERM)
	p.waitFor("no new calls are taken")
	if code := post(); code != 503 {
		t.Errorf("POST while draining: %d", code)
	}
	health(1, "not ready: the service is shutting down")
	p.signal(syscall.SIGTERM)
	p.waitFor("hung up at once")
	if code := p.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if !phone.OnHook() {
		t.Errorf("the phone is left ringing: %v", phone.Log())
	}
}

func TestAProgramThatCannotStartSaysWhy(t *testing.T) {
	p := startProgram(t, "serve", "--config", filepath.Join(t.TempDir(), "nowhere.yaml"))
	p.waitFor("write one with sipxrest serve --example-config")
	if code := p.end(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// kill -HUP would be no failure whatever becomes of the reload.
func TestTheUnitsReloadWaitsForTheOutcome(t *testing.T) {
	unit, err := os.ReadFile("../../packaging/sipxrest.service")
	if err != nil {
		t.Fatal(err)
	}
	config := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/sipxrest serve (--config .*)$`).FindStringSubmatch(string(unit))
	if config == nil || !strings.Contains(string(unit), "\nType=notify\n") || !strings.Contains(string(unit),
		"\nExecReload=/usr/bin/sipxrest reload "+config[1]+"\n") {
		t.Errorf("%s", unit)
	}
}
