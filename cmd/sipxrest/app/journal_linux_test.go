package app

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/config"
)

// The journal shows warnings and errors as such, and journalctl -p finds them.
func TestTheJournalIsToldThePriorityOfEachLine(t *testing.T) {
	for format, want := range map[string][]string{
		"text": {"<7>time=", "<6>time=", "<4>time=", "<3>time=", "<6>time="},
		"json": {`<7>{"time"`, `<6>{"time"`, `<4>{"time"`, `<3>{"time"`, `<6>{"time"`},
	} {
		file, err := os.CreateTemp(t.TempDir(), "journal")
		if err != nil {
			t.Fatal(err)
		}
		var stat syscall.Stat_t
		if err := syscall.Fstat(int(file.Fd()), &stat); err != nil {
			t.Fatal(err)
		}
		// The program's own standard error is what is compared with the variable.
		old, err := syscall.Dup(2)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Dup3(int(file.Fd()), 2, 0); err != nil {
			t.Fatal(err)
		}
		t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino))
		log := Logger(config.Log{Level: "debug", Format: format}, os.Stderr)
		log.Debug("a")
		log.Info("b")
		log.Warn("c")
		log.Error("d\ne")
		log.With("x", 1).WithGroup("g").Info("f", "y", time.Second)
		fmt.Fprintln(os.Stderr, Failure(os.Stderr, "sipxrest: one\ntwo"))
		other := Failure(file, "text")
		t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino+1))
		Logger(config.Log{Level: "info", Format: format}, os.Stderr).Info("elsewhere")
		if err := syscall.Dup3(old, 2, 0); err != nil {
			t.Fatal(err)
		}
		syscall.Close(old)
		data, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		if len(lines) != 8 || lines[5] != "<3>sipxrest: one" || lines[6] != "<3>two" || strings.HasPrefix(lines[7], "<") || other != "text" {
			t.Fatalf("%s: %q, %q", format, lines, other)
		}
		for i, prefix := range want {
			if !strings.HasPrefix(lines[i], prefix) {
				t.Errorf("%s: %s, want %s…", format, lines[i], prefix)
			}
		}
	}
}
