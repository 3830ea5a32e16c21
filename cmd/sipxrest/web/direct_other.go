//go:build !linux

package web

import (
	"net"
)

// direct is for Linux; elsewhere package net reads and writes.
func direct(c net.Conn) net.Conn { return c }
