package limit

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOnlyRegularFilesOfABoundedSizeAreRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	small := []byte(strings.Repeat("x", 1024))
	for name, data := range map[string][]byte{"small": small, "large": append(small, 'x'), "empty": nil} {
		if err := os.WriteFile(file(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(file("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", file("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for name, target := range map[string]string{"endless": "/dev/zero", "link": file("small"), "to-pipe": file("pipe"),
		"dangling": file("nothing")} {
		if err := os.Symlink(target, file(name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct {
		is   error
		text string
	}{
		"small": {}, "empty": {}, "link": {},
		"large":    {ErrTooLarge, "large is too large: it has more than 1 KiB"},
		"endless":  {ErrNotRegular, "endless: it is not a regular file but a device"},
		"pipe":     {ErrNotRegular, "but a pipe"},
		"to-pipe":  {ErrNotRegular, "but a pipe"},
		"socket":   {ErrNotRegular, "but a socket"},
		".":        {ErrNotRegular, "but a folder"},
		"dangling": {os.ErrNotExist, "dangling"},
	} {
		data, err := ReadFile(file(name), 1024)
		switch {
		case !errors.Is(err, want.is) || err != nil && !strings.Contains(err.Error(), want.text):
			t.Errorf("%s: %v, want …%s…", name, err, want.text)
		case err == nil && name != "empty" && string(data) != string(small):
			t.Errorf("%s: %d bytes", name, len(data))
		}
	}
}

// Files of the kernel say that they are empty.
func TestAFileThatSaysItIsEmptyIsRead(t *testing.T) {
	data, err := ReadFile("/proc/self/status", 1<<20)
	if err != nil || len(data) == 0 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := ReadFile("/proc/self/status", 10); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}
