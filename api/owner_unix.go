//go:build unix

package api

import (
	"os"
	"syscall"
)

// giveToOwner gives a file that root made to the owner of its folder: the
// service runs as that user. What fails is told when the service opens the
// file.
func giveToOwner(f *os.File, dir string) {
	info, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(owner.Uid), int(owner.Gid))
	}
}
