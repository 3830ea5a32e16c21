//go:build unix

package datafile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The service, which is not root, must be able to use what root has made.
func TestWhatRootMakesBelongsToTheFoldersOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	const other = 12345
	dir := t.TempDir()
	if err := os.Chown(dir, other, other); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "x.db")
	if err := Make(file); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != other {
		t.Errorf("it belongs to %d", uid)
	}
}
