//go:build !unix

package lab

import "syscall"

// There are no such signals here: the lab runs where processes can be frozen.
const (
	standStill = syscall.SIGKILL
	goOn       = syscall.SIGKILL
)
