//go:build !unix

package event

import "os"

// lockFile has no lock to take: see that one process uses a database.
func lockFile(name string) (*os.File, error) { return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600) }
