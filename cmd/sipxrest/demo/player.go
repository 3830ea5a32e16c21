package demo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// grace is how long a process may take to end by itself.
const grace = 10 * time.Second

// lastLines is how many lines of a process's log are told when something went wrong.
const lastLines = 5

// player is a process of the demo: a node or a store.
type player struct {
	name string // in what is said: "node 2"
	addr string // of its HTTP listener or that of its clients
	sip  string // ip:port of a node's SIP

	health string // ip:port of a node's /readyz

	cmd   *exec.Cmd
	ready chan struct{} // closed when it has said that it serves
	done  chan struct{} // closed when it has ended, and its log is read

	mu    sync.Mutex
	lines []string // the last of its log
}

// startPlayer starts a program, which is ready when its log has a line with a text.
func startPlayer(p *player, logs io.Writer, serves, program string, args ...string) error {
	p.cmd = exec.Command(program, args...)
	p.cmd.SysProcAttr = endsWithUs()
	p.ready, p.done = make(chan struct{}), make(chan struct{})
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(r, logs, serves)
	}()
	go func() {
		_ = p.cmd.Wait()
		w.Close()
		<-read
		close(p.done)
	}()
	return nil
}

// read takes the log line by line, as long as lines may be.
func (p *player) read(r io.Reader, logs io.Writer, serves string) {
	lines := bufio.NewReaderSize(r, 64<<10)
	served := false
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			text := string(bytes.TrimSpace(line))
			if logs != nil {
				fmt.Fprintf(logs, "%s: %s\n", p.name, text)
			}
			p.mu.Lock()
			p.lines = append(p.lines, text)
			if len(p.lines) > lastLines {
				p.lines = p.lines[1:]
			}
			p.mu.Unlock()
			if !served && strings.Contains(text, serves) {
				served = true
				close(p.ready)
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// log is the last of what the process has said.
func (p *player) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name + ": " + strings.Join(p.lines, "\n    ")
}

func (p *player) pid() int { return p.cmd.Process.Pid }

// kill ends the process as kill -9 does.
func (p *player) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// end lets the process end, and returns when it has.
func (p *player) end() {
	_ = interrupt(p.cmd.Process)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.kill()
	}
}
