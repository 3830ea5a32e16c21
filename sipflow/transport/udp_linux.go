//go:build linux && (amd64 || arm64)

package transport

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// batchSize is how many datagrams one system call reads at most.
const batchSize = 16

// A directUDP reads and writes a UDP socket with system calls that Go's
// scheduler is not told of. They never block, for the socket is non-blocking,
// so the scheduler has nothing to do for them; telling it costs more than the
// call at moderate load, for the first one after an idle moment wakes its
// monitor thread, which then looks around every 20 µs (see BENCHMARKS.md).
//
// Waiting for readability stays with the runtime's poller.
type directUDP struct {
	raw     syscall.RawConn
	v6      bool
	stamped bool // the kernel says when a datagram arrived

	mu     sync.RWMutex // held while fd is used for sending
	fd     uintptr
	closed bool
}

// newDirectUDP is nil for what is no socket of the kernel's.
func newDirectUDP(c PacketConn) *directUDP {
	u, ok := c.(*net.UDPConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	d := &directUDP{raw: raw}
	if raw.Control(func(fd uintptr) {
		d.fd = fd
		sa, e := syscall.Getsockname(int(fd))
		_, d.v6 = sa.(*syscall.SockaddrInet6)
		ok = e == nil
		d.stamped = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1) == nil
	}) != nil || !ok {
		return nil
	}
	return d
}

// Close ends sending; whoever owns the socket closes it afterwards.
func (d *directUDP) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// send hands b to the kernel. sent is false when the ordinary way has to be
// taken: the socket's buffer is full, or the address needs more than bytes.
func (d *directUDP) send(b []byte, to netip.AddrPort) (sent bool, err error) {
	var sa syscall.RawSockaddrInet6 // the larger one
	size := uintptr(syscall.SizeofSockaddrInet6)
	switch a := to.Addr(); {
	case len(b) == 0 || a.Zone() != "":
		return false, nil
	case d.v6:
		sa.Family = syscall.AF_INET6
		sa.Addr = a.As16()
		putPort(&sa.Port, to.Port())
	case a.Is4() || a.Is4In6():
		sa4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&sa))
		sa4.Family = syscall.AF_INET
		sa4.Addr = a.As4()
		putPort(&sa4.Port, to.Port())
		size = syscall.SizeofSockaddrInet4
	default:
		return false, nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return false, net.ErrClosed
	}
	for {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, d.fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0,
			uintptr(unsafe.Pointer(&sa)), size)
		switch errno {
		case 0:
			return true, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false, nil
		default:
			return true, errno
		}
	}
}

// putPort writes a port in network byte order.
func putPort(to *uint16, port uint16) {
	p := (*[2]byte)(unsafe.Pointer(to))
	p[0], p[1] = byte(port>>8), byte(port)
}

// mmsghdr is the kernel's struct of that name (recvmmsg(2)).
type mmsghdr struct {
	hdr syscall.Msghdr
	len uint32
}

// A stamp is when a datagram arrived, as the kernel says it (SCM_TIMESTAMPNS, socket(7)).
type stamp struct {
	hdr syscall.Cmsghdr
	at  syscall.Timespec
}

// waited returns how long ago that was. The clock may have been set meanwhile:
// what makes no sense is no time at all.
func (s *stamp) waited() (time.Duration, bool) {
	if s.hdr.Level != solSocket || s.hdr.Type != scmTimestampNS {
		return 0, false
	}
	d := time.Since(time.Unix(s.at.Unix()))
	return d, d >= 0 && d < maxWaited
}

// What a stamp's header says.
const (
	solSocket      = syscall.SOL_SOCKET
	scmTimestampNS = syscall.SCM_TIMESTAMPNS
)

// maxWaited is longer than any datagram waits that is still of use.
const maxWaited = 32 * time.Second

// read hands every datagram to take, whose data is only valid until it
// returns, and errors of earlier packets to failed. It tells waited how long the
// first of those that it found has waited; nil: nobody. It returns when the socket is closed.
func (d *directUDP) read(size int, take func(data []byte, from netip.AddrPort), waited func(time.Duration), failed func(error)) error {
	var (
		msgs  [batchSize]mmsghdr
		iovs  [batchSize]syscall.Iovec
		from  [batchSize]syscall.RawSockaddrInet6
		first stamp
		bufs  = make([]byte, batchSize*size) // the kernel gives pages only to what is written
	)
	for i := range msgs {
		iovs[i].Base = &bufs[i*size]
		iovs[i].SetLen(size)
		msgs[i].hdr.Iov, msgs[i].hdr.Iovlen = &iovs[i], 1
		msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&from[i]))
	}
	// The function runs once per wake-up. What arrives after its last look wakes
	// it again, so a batch that was not full need not be followed by a call that
	// finds nothing.
	return d.raw.Read(func(fd uintptr) bool {
		for {
			for i := range msgs {
				msgs[i].hdr.Namelen = syscall.SizeofSockaddrInet6
			}
			if d.stamped && waited != nil { // of one, for all of a batch are handled together
				first.hdr.Type = 0
				msgs[0].hdr.Control = (*byte)(unsafe.Pointer(&first))
				msgs[0].hdr.SetControllen(int(unsafe.Sizeof(first)))
			}
			n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])), batchSize, syscall.MSG_DONTWAIT, 0, 0)
			switch errno {
			case 0:
			case syscall.EAGAIN:
				return false
			case syscall.EINTR:
				continue
			case syscall.EBADF:
				return true
			default:
				failed(errno)
				continue
			}
			if wait, ok := first.waited(); ok {
				waited(wait)
			}
			for i := range int(n) {
				if to, ok := addrOf(&from[i]); ok {
					take(bufs[i*size:i*size+int(msgs[i].len)], to)
				}
			}
			if n < batchSize {
				return false
			}
		}
	})
}

func addrOf(sa *syscall.RawSockaddrInet6) (netip.AddrPort, bool) {
	p := (*[2]byte)(unsafe.Pointer(&sa.Port)) // at the same place in both
	port := uint16(p[0])<<8 | uint16(p[1])
	switch sa.Family {
	case syscall.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4((*syscall.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), port), true
	case syscall.AF_INET6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if a.IsLinkLocalUnicast() && sa.Scope_id != 0 {
			if i, err := net.InterfaceByIndex(int(sa.Scope_id)); err == nil {
				a = a.WithZone(i.Name)
			}
		}
		return netip.AddrPortFrom(a, port), true
	}
	return netip.AddrPort{}, false
}
