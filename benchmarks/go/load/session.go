package main

import (
	"bytes"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"trio-ws-gateway/benchmarks/poll"
)

type state string

const (
	connecting  state = "before it was connected"    // until its request is on its way
	shaking     state = "in its handshake"           // until its 101
	subscribing state = "while it subscribed"        // until the broker's SUBACK
	proving     state = "before its first message"   // until that is back
	relaying    state = "in the middle of its words" // until its Close
	leaving     state = "after its Close"
)

// session: one WebSocket. `words` are the client's frames, as many as may be in flight and one; `expected` is
// the frame that comes back for each.
type session struct {
	fd       int
	state    state
	topic    string
	beganAt  int64
	head     []byte
	words    []byte
	word     int // length of one of them
	said     int // position in a word
	owed     int // bytes to be said
	stalled  bool
	expected []byte
	heard    int // position in what is expected
	sent     []int64
	first    int
	pending  int
	index    int // in the list of the living
}

// comeback: somebody who was told to come again.
type comeback struct{ beganAt, dueAt int64 }

type load struct {
	poller     *poll.Poller
	byFd       []*session
	live       []*session
	buffer     []byte
	payload    []byte
	words      []byte
	expected   []byte
	tokens     []string
	begun      int
	ready      int        // sessions that have come to relaying, ever
	refused    int        // that were told to come again, ever
	later      []comeback // those of them who have not come yet
	told       bool       // there is a word to be read
	asked      int64      // messages that should come back, ever
	done       int64      // that have
	now        int64
	heardAt    int64
	times      histogram
	onOpen     func(*session)
	onMessages func(*session, int)
}

var start = time.Now()

func nanotime() int64 { return int64(time.Since(start)) }

func newLoad(tokens []string) *load {
	l := &load{
		poller:     poll.New(),
		byFd:       make([]*session, 1<<16),
		buffer:     make([]byte, 256*1024),
		payload:    make([]byte, *size),
		tokens:     tokens,
		onOpen:     func(*session) {},
		onMessages: func(*session, int) {},
	}
	for i := range l.payload {
		l.payload[i] = byte('a' + i%23)
	}
	l.words, l.expected = bytes.Repeat(clientFrame(binary, l.payload), *inflight+1), serverFrame(l.payload)
	return l
}

// turn: one pass over what is ready, or soon is.
func (l *load) turn() { l.turnWithin(100) }

func (l *load) turnWithin(milliseconds int) {
	events := l.poller.Wait(milliseconds)
	if len(events) == 0 {
		if nanotime()-l.heardAt > stalledSeconds*1e9 {
			poll.Fail("nothing came for %d s; %d of %d messages, %d sessions", stalledSeconds, l.done, l.asked, len(l.live))
		}
		return
	}
	for i := range events {
		s := l.byFd[events[i].Fd]
		if s == nil {
			l.told = l.told || events[i].Fd == 0
			continue
		}
		if s.state == connecting {
			l.connected(s)
			continue
		}
		if events[i].Events&poll.Out != 0 {
			l.flush(s)
		}
		if events[i].Events&^poll.Out != 0 {
			l.hear(s)
		}
	}
	l.heardAt = l.now
}

func (l *load) open() { l.openSince(nanotime()) }

// openSince that moment somebody has wanted a session.
func (l *load) openSince(beganAt int64) {
	fd, connected, err := poll.Connect(*port)
	poll.Must(err, "connect")
	s := &session{fd: fd, state: connecting, index: len(l.live), beganAt: beganAt, words: l.words, expected: l.expected}
	s.sent = make([]int64, *inflight+1)
	head := "GET " + *path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if token := l.tokens[l.begun%len(l.tokens)]; token != "" {
		head += "Authorization: Bearer " + token + "\r\n"
	}
	if *version != 0 {
		head += "Sec-WebSocket-Protocol: mqtt\r\n"
		s.topic = fmt.Sprintf("bench/%06d", l.begun)
		publish := publishPacket(*version, s.topic, l.payload)
		s.words, s.expected = bytes.Repeat(clientFrame(binary, publish), *inflight+1), serverFrame(publish)
	}
	s.word = len(s.words) / (*inflight + 1)
	s.head = []byte(head + "\r\n")
	l.byFd[fd] = s
	l.live = append(l.live, s)
	l.begun++
	if connected {
		l.poller.Add(fd, poll.In)
		l.ask(s)
	} else {
		l.poller.Add(fd, poll.Out)
	}
}

// connected, or not: a request that cannot be sent is heard of as a session that was cut.
func (l *load) connected(s *session) {
	l.poller.Want(s.fd, poll.In)
	l.ask(s)
}

func (l *load) ask(s *session) {
	s.state = shaking
	l.write(s, s.head)
	s.head = nil
}

// write what surely fits.
func (l *load) write(s *session, data []byte) {
	if n, ok := poll.Write(s.fd, data); ok && n < len(data) {
		poll.Fail("the proxy did not take %d bytes", len(data))
	}
}

func (l *load) hear(s *session) {
	n := poll.Read(s.fd, l.buffer)
	l.now = nanotime()
	if n < 0 {
		return
	}
	if n == 0 {
		if s.state != leaving {
			poll.Fail("a session was cut, %s: %q", s.state, s.head)
		}
		l.drop(s)
		return
	}
	data := l.buffer[:n]
	switch s.state {
	case shaking:
		l.shake(s, data)
	case subscribing:
		l.subscribed(s, data)
	case proving, relaying:
		l.compare(s, data)
	case leaving: // whatever it is
	}
}

func (l *load) shake(s *session, data []byte) {
	s.head = append(s.head, data...)
	end := bytes.Index(s.head, []byte("\r\n\r\n"))
	if end < 0 {
		return
	}
	if !bytes.HasPrefix(s.head, []byte("HTTP/1.1 101 ")) {
		l.turnedAway(s)
		return
	}
	rest := s.head[end+4:]
	s.head = nil
	if *version != 0 {
		s.state = subscribing
		packets := append(connectPacket(*version, s.topic), subscribePacket(*version, s.topic)...)
		l.write(s, clientFrame(binary, packets))
		l.subscribed(s, rest)
		return
	}
	l.prove(s)
	if len(rest) > 0 {
		l.compare(s, rest)
	}
}

// turnedAway, and told when to come again.
func (l *load) turnedAway(s *session) {
	_, after, found := bytes.Cut(s.head, []byte("\r\nRetry-After: "))
	line, _, _ := bytes.Cut(after, []byte("\r\n"))
	seconds, err := strconv.Atoi(string(line))
	if !found || err != nil || !*returning {
		poll.Fail("refused: %q", s.head)
	}
	l.refused++
	l.later = append(l.later, comeback{s.beganAt, l.now + int64(seconds)*1e9})
	l.drop(s)
	l.begun--
}

// comeAgain, whose time has come.
func (l *load) comeAgain() {
	l.now = nanotime()
	waiting := l.later[:0]
	for _, each := range l.later {
		if each.dueAt <= l.now {
			l.openSince(each.beganAt)
		} else {
			waiting = append(waiting, each)
		}
	}
	l.later = waiting
}

// subscribed waits for the SUBACK.
func (l *load) subscribed(s *session, data []byte) {
	s.head = append(s.head, data...)
	for at := 0; at+2 < len(s.head); at += 2 + int(s.head[at+1]) {
		if s.head[at+2]>>4 == 9 && at+2+int(s.head[at+1]) <= len(s.head) {
			s.head = nil
			l.prove(s)
			return
		}
	}
}

// prove: a session counts as open when a message has come back.
func (l *load) prove(s *session) {
	s.state = proving
	l.now = nanotime()
	l.send(s, 1)
}

func (l *load) compare(s *session, data []byte) {
	whole := 0
	for len(data) > 0 {
		n := len(s.expected) - s.heard
		if n > len(data) {
			n = len(data)
		}
		if !bytes.Equal(data[:n], s.expected[s.heard:s.heard+n]) {
			poll.Fail("other bytes came than were sent: %.60q in place of %.60q", data[:n], s.expected[s.heard:s.heard+n])
		}
		data = data[n:]
		if s.heard += n; s.heard == len(s.expected) {
			s.heard = 0
			whole++
		}
	}
	if whole == 0 {
		return
	}
	l.done += int64(whole)
	if s.state == proving {
		s.took(whole)
		s.state = relaying
		l.ready++
		l.onOpen(s)
		return
	}
	l.onMessages(s, whole)
}

// send so many messages more.
func (l *load) send(s *session, count int) {
	for i := 0; i < count; i++ {
		s.sent[(s.first+s.pending)%len(s.sent)] = l.now
		s.pending++
	}
	l.asked += int64(count)
	waiting := s.owed > 0
	s.owed += count * s.word
	if !waiting {
		l.flush(s)
	}
}

func (l *load) flush(s *session) {
	n, ok := poll.Write(s.fd, s.words[s.said:s.said+s.owed])
	if !ok {
		return // its end will be heard
	}
	s.owed -= n
	s.said = (s.said + n) % s.word
	if stalled := s.owed > 0; stalled != s.stalled {
		s.stalled = stalled
		if stalled {
			l.poller.Want(s.fd, poll.In|poll.Out)
		} else {
			l.poller.Want(s.fd, poll.In)
		}
	}
}

// took returns when the oldest of so many messages were sent, and forgets them.
func (s *session) took(count int) []int64 {
	first := s.first
	s.first = (s.first + count) % len(s.sent)
	s.pending -= count
	if first+count <= len(s.sent) {
		return s.sent[first : first+count]
	}
	return append(append([]int64(nil), s.sent[first:]...), s.sent[:first+count-len(s.sent)]...)
}

func (l *load) close(s *session) {
	s.state = leaving
	l.write(s, clientFrame(closing, []byte{0x03, 0xE8}))
}

func (l *load) drop(s *session) {
	l.byFd[s.fd] = nil
	syscall.Close(s.fd)
	last := l.live[len(l.live)-1]
	l.live[s.index], last.index = last, s.index
	l.live = l.live[:len(l.live)-1]
}
