// The upstream of every measurement: sends each frame back as it came, unmasked. What is written to its
// second port goes, as it is, to all its clients: that is the fan-out.
//
// Prints both ports when it listens. One loop, no goroutines; frames are rewritten where they were read.
package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"syscall"

	"trio-ws-gateway/benchmarks/poll"
)

const (
	room  = 16 // before a read, for a header that was cut
	guid  = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	ping  = 0x9
	pong  = 0xA
	close = 0x8
)

type client struct {
	fd     int
	open   bool // the 101 is out
	ended  bool // its Close is answered: gone once everything is out
	head   []byte
	cut    []byte // of a header
	left   int    // of a payload
	mask   [4]byte
	at     int // in the mask
	unsent []byte
}

type echo struct {
	poller    *poll.Poller
	clients   map[int]*client
	buffer    []byte
	listener  int
	broadcast int
	speakers  map[int]bool
}

func main() {
	e := &echo{poller: poll.New(), clients: map[int]*client{}, buffer: make([]byte, room+256*1024), speakers: map[int]bool{}}
	var port, broadcastPort int
	e.listener, port = poll.Listen(0)
	e.broadcast, broadcastPort = poll.Listen(0)
	e.poller.Add(e.listener, poll.In)
	e.poller.Add(e.broadcast, poll.In)
	fmt.Printf("{\"port\": %d, \"broadcast_port\": %d}\n", port, broadcastPort)
	for {
		for _, event := range e.poller.Wait(1000) {
			e.turn(int(event.Fd), event.Events)
		}
	}
}

func (e *echo) turn(fd int, events uint32) {
	switch {
	case fd == e.listener:
		for taken, ok := poll.Accept(fd); ok; taken, ok = poll.Accept(fd) {
			e.clients[taken] = &client{fd: taken}
			e.poller.Add(taken, poll.In)
		}
	case fd == e.broadcast:
		for taken, ok := poll.Accept(fd); ok; taken, ok = poll.Accept(fd) {
			e.speakers[taken] = true
			e.poller.Add(taken, poll.In)
		}
	case e.speakers[fd]:
		e.spread(fd)
	default:
		c := e.clients[fd]
		if c == nil {
			return // it went in this very batch
		}
		if len(c.unsent) > 0 {
			e.send(c, nil)
		} else {
			e.read(c)
		}
	}
}

func (e *echo) read(c *client) {
	begin := room - len(c.cut)
	copy(e.buffer[begin:], c.cut)
	n := poll.Read(c.fd, e.buffer[room:])
	if n < 0 {
		return
	}
	if n == 0 {
		e.drop(c)
		return
	}
	data := e.buffer[begin : room+n]
	c.cut = c.cut[:0]
	if !c.open {
		if data = e.shake(c, e.buffer[room:room+n]); data == nil {
			return
		}
	}
	e.send(c, data[:c.answer(data)])
}

// shake answers the handshake, and returns what came behind it; nil: not all of it is there.
func (e *echo) shake(c *client, data []byte) []byte {
	c.head = append(c.head, data...)
	end := bytes.Index(c.head, []byte("\r\n\r\n"))
	if end < 0 {
		return nil
	}
	rest := c.head[end+4:]
	key := header(c.head[:end+2], "sec-websocket-key:")
	digest := sha1.Sum(append(key, guid...))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(digest[:]) + "\r\n\r\n"
	c.open, c.head = true, nil
	e.send(c, []byte(answer))
	return rest
}

func header(head []byte, name string) []byte {
	for _, line := range bytes.Split(head, []byte("\r\n")) {
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return append([]byte(nil), bytes.TrimSpace(line[len(name):])...)
		}
	}
	return nil
}

// answer rewrites masked frames into the same without a mask, in place, and returns how many bytes they are now.
func (c *client) answer(data []byte) int {
	in, out := 0, 0
	for in < len(data) {
		if c.left > 0 {
			n := c.left
			if n > len(data)-in {
				n = len(data) - in
			}
			c.unmask(data[out:out+n], data[in:in+n])
			in, out, c.left = in+n, out+n, c.left-n
			continue
		}
		size, length := headerOf(data[in:])
		if size > len(data)-in {
			c.cut = append(c.cut[:0], data[in:]...)
			break
		}
		copy(c.mask[:], data[in+size-4:in+size])
		c.left, c.at = length, 0
		first := data[in]
		switch first & 0xF {
		case ping:
			first = first&0xF0 | pong
		case close:
			c.ended = true
		}
		data[out] = first
		data[out+1] = data[in+1] & 0x7F
		copy(data[out+2:], data[in+2:in+size-4])
		in, out = in+size, out+size-4
	}
	return out
}

// headerOf returns the size of a masked frame's header, and its payload's length where all of that is there.
func headerOf(data []byte) (int, int) {
	if len(data) < 2 {
		return 14, 0
	}
	switch length := int(data[1] & 0x7F); {
	case length < 126:
		return 6, length
	case length == 126:
		if len(data) < 4 {
			return 14, 0
		}
		return 8, int(binary.BigEndian.Uint16(data[2:]))
	default:
		if len(data) < 10 {
			return 14, 0
		}
		return 14, int(binary.BigEndian.Uint64(data[2:]))
	}
}

// unmask goes forward only: the target overlaps the source, and never lies behind it.
func (c *client) unmask(target, source []byte) {
	var mask [8]byte
	for i := range mask {
		mask[i] = c.mask[(c.at+i)&3]
	}
	c.at = (c.at + len(source)) & 3
	wide := binary.LittleEndian.Uint64(mask[:])
	for len(source) >= 8 {
		binary.LittleEndian.PutUint64(target, binary.LittleEndian.Uint64(source)^wide)
		target, source = target[8:], source[8:]
	}
	for i := range source {
		target[i] = source[i] ^ mask[i]
	}
}

// send writes; a client that takes no more is not read from until it has taken all.
func (e *echo) send(c *client, data []byte) {
	queued := len(c.unsent) > 0
	if queued {
		c.unsent = append(c.unsent, data...)
		data = c.unsent
	}
	n, ok := poll.Write(c.fd, data)
	if !ok {
		e.drop(c)
		return
	}
	if n < len(data) {
		c.unsent = append(c.unsent[:0], data[n:]...)
		if !queued {
			e.poller.Want(c.fd, poll.Out)
		}
		return
	}
	c.unsent = c.unsent[:0]
	if queued {
		e.poller.Want(c.fd, poll.In)
	}
	if c.ended && c.left == 0 {
		e.drop(c)
	}
}

func (e *echo) drop(c *client) {
	if e.clients[c.fd] == c {
		delete(e.clients, c.fd)
		syscall.Close(c.fd)
	}
}

func (e *echo) spread(fd int) {
	n := poll.Read(fd, e.buffer)
	if n == 0 {
		delete(e.speakers, fd)
		syscall.Close(fd)
	}
	if n <= 0 {
		return
	}
	for _, c := range e.clients {
		if c.open {
			e.send(c, e.buffer[:n])
		}
	}
}
