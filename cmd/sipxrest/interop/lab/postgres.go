package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Postgres is a PostgreSQL server of a test, which can be stopped and started again.
type Postgres struct {
	tb      testing.TB
	dir     string
	port    int
	process *Process
	starts  int
}

// PostgresPassword is that of the server's user "sipxrest".
const PostgresPassword = "k3ep-out"

// NewPostgres makes a server, which is not started, with an empty database.
func NewPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	p := &Postgres{tb: tb, dir: folder(tb), port: Ports(tb, 1)}
	password := filepath.Join(p.dir, "password")
	if err := os.WriteFile(password, []byte(PostgresPassword+"\n"), 0o644); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(p.dir, 0o777); err != nil { // for whom the server runs as
		tb.Fatal(err)
	}
	argv := p.argv("initdb", "-D", p.data(), "-U", "sipxrest", "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	return p
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// argv is a program of PostgreSQL, as nobody if we are root: it refuses to run as that.
func (p *Postgres) argv(program string, more ...string) []string {
	p.tb.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program) // where Debian has it
		if len(found) == 0 {
			p.tb.Fatalf("%s of postgresql is not installed: run `make setup`, or only `make unit` where it cannot be installed", program)
		}
		slices.Sort(found)
		path = found[len(found)-1]
	}
	argv := append([]string{path}, more...)
	if os.Getuid() == 0 {
		argv = append([]string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"}, argv...)
	}
	return argv
}

// Start starts it and waits until it takes connections.
func (p *Postgres) Start() {
	p.tb.Helper()
	p.starts++
	p.process = start(p.tb, "postgres"+strconv.Itoa(p.starts), p.dir, p.argv("postgres", "-D", p.data(), "-p", strconv.Itoa(p.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+p.dir, "-c", "fsync=off")...)
	if _, err := p.process.AwaitLine(0, regexp.MustCompile(`ready to accept connections`), Patience); err != nil {
		p.tb.Fatal(err)
	}
}

// Stop stops it at once: connections are cut.
func (p *Postgres) Stop() {
	p.tb.Helper()
	if err := p.process.Signal(syscall.SIGINT); err != nil { // a fast shutdown
		p.tb.Fatal(err)
	}
	select {
	case <-p.process.Done():
	case <-time.After(Patience):
		p.tb.Fatal("postgres does not end")
	}
}

// DSN is the address of the database.
func (p *Postgres) DSN() string {
	return fmt.Sprintf("postgres://sipxrest:%s@127.0.0.1:%d/postgres?sslmode=disable", PostgresPassword, p.port)
}
