package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stopGrace is how long a process may take to end after SIGTERM before its
// whole group is killed.
const stopGrace = 10 * time.Second

// Process is a program of the lab that runs: its output is kept line by line
// and in a log file, and it ends with the test.
type Process struct {
	// Name says what it is in messages, and names the log file.
	Name string

	cmd   *exec.Cmd
	stdin io.Writer     // what is typed to it
	done  chan struct{} // closed when the program has ended and its output is read
	err   error         // of the program's end; read after done

	mu      sync.Mutex
	lines   []string
	changed chan struct{} // closed and replaced at every line
}

var ansi = regexp.MustCompile("\x1b?\\[[0-9;]*[mK]|\x1b\\[;m")

// start runs argv in dir. Its output goes to dir/NAME.log. The program is the
// leader of its own process group, so that its children end with it, and gets
// SIGTERM when the test binary dies without having cleaned up.
func start(tb testing.TB, name, dir string, argv ...string) *Process {
	tb.Helper()
	return startIn(tb, name, dir, nil, argv...)
}

// startIn is start with variables that the program has beside our own.
func startIn(tb testing.TB, name, dir string, environment []string, argv ...string) *Process {
	tb.Helper()
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		tb.Fatal(err)
	}
	p := &Process{Name: name, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{}), changed: make(chan struct{})}
	p.cmd.Dir = dir
	if environment != nil {
		p.cmd.Env = append(os.Environ(), environment...)
	}
	p.cmd.SysProcAttr = ownGroup()
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	// baresip polls its standard input and complains about anything but a pipe.
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	w.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(io.TeeReader(r, log))
		r.Close()
		log.Close()
	}()
	go func() {
		err := p.cmd.Wait()
		// A child that survives its parent would keep the pipe, and the port.
		killGroup(p.cmd.Process)
		<-read
		stdin.Close()
		p.err = err
		close(p.done)
	}()
	tb.Cleanup(p.Stop)
	return p
}

// read splits the output at CR and LF: baresip's status line ends in CR.
func (p *Process) read(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), 1<<20)
	s.Split(func(data []byte, eof bool) (int, []byte, error) {
		if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
			return i + 1, data[:i], nil
		}
		if eof && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	for s.Scan() {
		line := string(bytes.TrimSpace(ansi.ReplaceAll(s.Bytes(), nil)))
		if line == "" {
			continue
		}
		p.mu.Lock()
		p.lines = append(p.lines, line)
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
	io.Copy(io.Discard, r) // a line too long for the scanner must not block the program
}

// Signal sends sig to the program itself, not to its children.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits until the program has ended, at most for timeout, and returns
// how it ended.
func (p *Process) Wait(timeout time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(timeout):
		return fmt.Errorf("%s still runs after %v", p.Name, timeout)
	}
}

// Stop ends the program with SIGTERM, and with SIGKILL to its group when it
// has not ended in time. It may be called more than once.
func (p *Process) Stop() {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		killGroup(p.cmd.Process)
		<-p.done
	}
}

// Lines returns the output so far: trimmed, without colours and empty lines.
func (p *Process) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)]
}

// Mark returns a position in the output for AwaitLine.
func (p *Process) Mark() int { return len(p.Lines()) }

// AwaitLine returns the first output line after position from that matches,
// and the match with its groups. It fails when there is none within timeout or
// the program ends without it.
func (p *Process) AwaitLine(from int, re *regexp.Regexp, timeout time.Duration) ([]string, error) {
	deadline := time.After(timeout)
	for ended := false; ; {
		p.mu.Lock()
		lines, changed := p.lines, p.changed
		p.mu.Unlock()
		for ; from < len(lines); from++ {
			if m := re.FindStringSubmatch(lines[from]); m != nil {
				return m, nil
			}
		}
		if ended {
			return nil, fmt.Errorf("%s ended without printing %q: %w", p.Name, re, orElse(p.err, errors.New("exit status 0")))
		}
		select {
		case <-changed:
		case <-p.done:
			ended = true
		case <-deadline:
			return nil, fmt.Errorf("%s printed no line like %q within %v", p.Name, re, timeout)
		}
	}
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
