//go:build !linux

package lab

import (
	"os"
	"syscall"
)

// ownGroup is for Linux: elsewhere the lab only compiles, for Debian has its programs.
func ownGroup() *syscall.SysProcAttr { return nil }

// killGroup is for Linux; elsewhere the program dies and its children stay.
func killGroup(p *os.Process) { p.Kill() }
