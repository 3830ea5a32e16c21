//go:build unix

package datafile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// GiveToOwner gives a file that root made to the owner of its folder: the
// service runs as that user. What fails is told when the service opens the
// file.
func GiveToOwner(f *os.File, dir string) {
	info, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(owner.Uid), int(owner.Gid))
	}
}

// Writable says why a database cannot be written: its log is a file beside it. The
// driver has no words for that.
func Writable(file string) error {
	for _, name := range []string{file, filepath.Dir(file)} {
		if err := unix.Access(name, unix.W_OK); err != nil {
			return fmt.Errorf("%s, and the folder that it is in, must be writable: %w", file, &fs.PathError{Op: "write", Path: name, Err: err})
		}
	}
	return nil
}
