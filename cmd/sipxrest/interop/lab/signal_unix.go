//go:build unix

package lab

import "syscall"

// The signals that freeze a process and let it go on.
const (
	standStill = syscall.SIGSTOP
	goOn       = syscall.SIGCONT
)
