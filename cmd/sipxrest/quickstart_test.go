package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What docs/quickstart.md has people paste works with what the demo prints.
func TestFirstStepsCanBePasted(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: a demo in real time")
	}
	for _, tool := range []string{"bash", "curl", "openssl", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed (make setup does it)")
		}
	}
	page, err := os.ReadFile("../../docs/quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)\n```sh\n(.*?)```\n").FindAllStringSubmatch(string(page), -1) {
		script.WriteString(block[1])
	}
	commands := strings.NewReplacer("bin/sipxrest", os.Args[0], "8085", freePort(t)).Replace(script.String())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	bash := exec.CommandContext(ctx, "bash", "-c", "trap 'kill $(jobs -p)' TERM\n"+exported(t)+"\n"+commands+"wait\n")
	bash.Cancel = func() error { return bash.Process.Signal(syscall.SIGTERM) }
	bash.Dir = "../.."
	bash.Env = append(os.Environ(), "RUN_AS_PROGRAM=1", "PYTHONUNBUFFERED=") // lines of several programs, each whole
	bash.WaitDelay = 5 * time.Second
	out, err := bash.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`"name":"crm"`, `"id":"deal-4711-attempt-1"`, "event: call.created", "event: call.connected", "event: transfer.completed",
		"event: call.ended", `"reason":"client_hung_up"`, `"message":"There is no 999 (404 Not Found by 127.0.0.1). Check the number.`,
		"\nINVITE sip:999@sipx.test", "SIP/2.0 404 Not Found", `"url":"http://127.0.0.1:`, "unreachable: There is no 999",
		`"tags":{"deal":"4711"}`,
		"start_time,caller_aor,callee_aor,outcome,talk_ms,message",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s is missing", want)
		}
	}
	// The receiver prints an event only if its signature was good.
	if !regexp.MustCompile(`(?m)^call\.ended \S+ ended$`).Match(out) {
		t.Error("no webhook came")
	}
	if bytes.Contains(out, []byte("/errors/")) || t.Failed() {
		t.Errorf("the commands print\n%s", out)
	}
}

// freePort is a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// exported starts the demo and returns the line that people paste.
func exported(t *testing.T) string {
	t.Helper()
	demo := exec.Command(os.Args[0], "demo", "--keep")
	demo.Env = append(os.Environ(), "RUN_AS_PROGRAM=1", "TMPDIR="+t.TempDir())
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		var text strings.Builder
		for buf := make([]byte, 4096); ; {
			n, err := out.Read(buf)
			text.Write(buf[:n])
			if line := regexp.MustCompile(`(?m)^ +(export SIPXREST=.*)\n`).FindStringSubmatch(text.String()); line != nil {
				found <- line[1]
				_, _ = io.Copy(io.Discard, out)
				return
			}
			if err != nil {
				found <- ""
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = demo.Process.Signal(syscall.SIGTERM)
		<-read
		if err := demo.Wait(); err != nil {
			t.Errorf("the demo: %v", err)
		}
	})
	line := <-found
	if line == "" {
		t.Fatal("the demo prints no line to paste")
	}
	return line
}
