//go:build unix

package event

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sipxrest/internal/datafile"
)

// errLocked says that another process uses a database.
var errLocked = errors.New("another process uses this database")

// lockFile takes a lock that ends with the process. It is a file of its own: closing
// the database's would let go of SQLite's locks.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	datafile.GiveToOwner(f, filepath.Dir(name))
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}
