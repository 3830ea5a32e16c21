//go:build unix

package check

import (
	"io/fs"
	"syscall"
)

// owner returns a file's user and group; false if info does not tell.
func owner(info fs.FileInfo) (uid, gid uint32, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return stat.Uid, stat.Gid, true
}
