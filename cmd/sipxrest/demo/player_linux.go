package demo

import "syscall"

// endsWithUs has a process end when the demo dies.
func endsWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
