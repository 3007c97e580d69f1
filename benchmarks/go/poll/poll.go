// Package poll is the least that a load generator and an echo need: one level-triggered epoll, and
// sockets read and written past Go's scheduler. What these two spend is taken from the proxy's two
// cores, so what passes a message on allocates nothing, and a system call costs what it costs in C.
package poll

import (
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
	"unsafe"
)

const (
	In  = syscall.EPOLLIN
	Out = syscall.EPOLLOUT
)

// Poller watches sockets.
type Poller struct {
	fd     int
	events [512]syscall.EpollEvent
}

// New also makes garbage collection rare: its pauses would be counted as latency of the proxy's.
func New() *Poller {
	debug.SetGCPercent(800)
	fd, err := syscall.EpollCreate1(0)
	Must(err, "epoll_create")
	return &Poller{fd: fd}
}

func (p *Poller) Add(fd int, events uint32) { p.control(syscall.EPOLL_CTL_ADD, fd, events) }

// Want changes what an added socket is watched for; 0 is "nothing but its end".
func (p *Poller) Want(fd int, events uint32) { p.control(syscall.EPOLL_CTL_MOD, fd, events) }

func (p *Poller) control(operation, fd int, events uint32) {
	event := syscall.EpollEvent{Events: events, Fd: int32(fd)}
	Must(syscall.EpollCtl(p.fd, operation, fd, &event), "epoll_ctl")
}

// Wait returns what is ready, nothing after so many milliseconds.
func (p *Poller) Wait(milliseconds int) []syscall.EpollEvent {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), uintptr(milliseconds), 0, 0)
	if errno == syscall.EINTR {
		return nil
	}
	if errno != 0 {
		Must(errno, "epoll_wait")
	}
	return p.events[:n]
}

// Read returns the number of bytes, 0 at the end of the stream or after an error, -1 where nothing is there.
func Read(fd int, buffer []byte) int {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)))
	switch errno {
	case 0:
		return int(n)
	case syscall.EAGAIN, syscall.EINTR:
		return -1
	}
	return 0
}

// Write returns how many bytes were taken; false: the peer is gone.
func Write(fd int, data []byte) (int, bool) {
	if len(data) == 0 {
		return 0, true
	}
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)),
		syscall.MSG_NOSIGNAL, 0, 0)
	switch errno {
	case 0:
		return int(n), true
	case syscall.EAGAIN, syscall.EINTR:
		return 0, true
	}
	return 0, false
}

// Listen on a port of 127.0.0.1; 0 lets the system choose. Returns the socket and the port.
func Listen(port int) (int, int) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	Must(err, "socket")
	Must(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1), "SO_REUSEADDR")
	Must(syscall.Bind(fd, loopback(port)), "bind")
	Must(syscall.Listen(fd, 4096), "listen")
	name, err := syscall.Getsockname(fd)
	Must(err, "getsockname")
	return fd, name.(*syscall.SockaddrInet4).Port
}

// Accept returns a socket that does not block; false: nobody waits.
func Accept(listener int) (int, bool) {
	fd, _, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK)
	if err != nil {
		return 0, false
	}
	Must(syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1), "TCP_NODELAY")
	return fd, true
}

// Connect to a port of 127.0.0.1; false: that is still under way, because nobody accepts as fast as connections come.
func Connect(port int) (int, bool, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	Must(err, "socket")
	Must(syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1), "TCP_NODELAY")
	err = syscall.Connect(fd, loopback(port))
	if err == syscall.EINPROGRESS {
		err = syscall.Connect(fd, loopback(port)) // on the same machine it is mostly done by now
	}
	switch err {
	case nil, syscall.EISCONN:
		return fd, true, nil
	case syscall.EINPROGRESS, syscall.EALREADY:
		return fd, false, nil
	}
	syscall.Close(fd)
	return 0, false, err
}

func loopback(port int) *syscall.SockaddrInet4 {
	return &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// Must ends the program where something fails that cannot.
func Must(err error, what string) {
	if err != nil {
		Fail("%s: %v", what, err)
	}
}

// Fail ends the program with a reason.
func Fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}
