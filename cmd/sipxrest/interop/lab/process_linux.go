package lab

import (
	"os"
	"syscall"
)

// ownGroup makes a program the leader of its own process group, and ends it when
// the test binary dies.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// killGroup kills a program with its children.
func killGroup(p *os.Process) { syscall.Kill(-p.Pid, syscall.SIGKILL) }
