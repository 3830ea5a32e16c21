package web

import (
	"io"
	"net"
	"sync"
	"syscall"
	"unsafe"
)

// A directConn reads and writes a TCP connection with system calls that Go's
// scheduler is not told of: they cannot block, for the socket is non-blocking,
// and telling it wakes its monitor thread after each idle moment (see
// BENCHMARKS.md). Waiting, deadlines and closing stay with package net.
type directConn struct {
	*net.TCPConn
	raw    syscall.RawConn
	rd, wr direction
}

// A direction is one of reading and writing; each goes one call at a time.
type direction struct {
	mu   sync.Mutex
	call uintptr // the system call's number
	f    func(fd uintptr) bool
	b    []byte
	n    int
	err  error
}

// direct returns c as a directConn if it is a TCP connection of the kernel's.
func direct(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	d := &directConn{TCPConn: t, raw: raw}
	d.rd.call, d.wr.call = syscall.SYS_READ, syscall.SYS_WRITE
	d.rd.f, d.wr.f = d.rd.once, d.wr.once // made once, not for each call
	return d
}

// once does one system call; it reports false when it has to wait.
func (d *direction) once(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(d.call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(d.b))), uintptr(len(d.b)))
		switch errno {
		case 0:
			d.n = int(n)
			return true
		case syscall.EAGAIN:
			return false
		case syscall.EINTR:
		default:
			d.err = errno
			return true
		}
	}
}

// do runs the system call for b through wait, which is one of RawConn's.
func (d *direction) do(b []byte, wait func(func(uintptr) bool) error) (int, error) {
	d.b, d.n, d.err = b, 0, nil
	err := wait(d.f)
	n, failed := d.n, d.err
	d.b = nil
	if err == nil {
		err = failed
	}
	return n, err
}

func (c *directConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	n, err := c.rd.do(b, c.raw.Read)
	if err != nil {
		return 0, c.failed("read", err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (c *directConn) Write(b []byte) (int, error) {
	c.wr.mu.Lock()
	defer c.wr.mu.Unlock()
	for done := 0; ; {
		n, err := c.wr.do(b[done:], c.raw.Write)
		done += n
		if err != nil {
			return done, c.failed("write", err)
		}
		if done == len(b) {
			return done, nil
		}
	}
}

// failed gives errors the form of package net's.
func (c *directConn) failed(op string, err error) error {
	if _, ok := err.(*net.OpError); ok {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
