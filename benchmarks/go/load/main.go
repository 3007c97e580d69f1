// The load generator. It opens sessions through a proxy and keeps them busy; what it expects back is known to
// the byte, so it compares in place of parsing. One loop, no goroutines.
//
// It speaks in lines of JSON and waits for a line before each step, so that whoever started it can read the
// proxy's clocks at the right moments: between "ready" and the result nothing is measured but the work.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"trio-ws-gateway/benchmarks/poll"
)

const (
	stalledSeconds = 20
	opensPerTurn   = 32 // then who is open already is heard
)

var (
	mode        = flag.String("mode", "echo", "echo, fan, idle, sessions, storm or steady")
	port        = flag.Int("port", 0, "of the proxy, on 127.0.0.1")
	path        = flag.String("path", "/ws", "of the endpoint")
	connections = flag.Int("connections", 1, "sessions at a time; `sessions`: in all")
	opening     = flag.Int("opening", 64, "sessions in their handshake at a time")
	inflight    = flag.Int("inflight", 1, "messages on their way, per session")
	size        = flag.Int("size", 100, "bytes of a message")
	warm        = flag.Float64("warm", 0.2, "seconds before it counts")
	seconds     = flag.Float64("seconds", 1, "seconds that count")
	messages    = flag.Int64("messages", 50_000_000, "messages at most")
	tokens      = flag.String("tokens", "", "file of bearer tokens, one a line, taken in turn")
	broadcast   = flag.Int("broadcast", 0, "`fan`: the echo's second port")
	pace        = flag.Float64("pace", 0.02, "`steady`: seconds between two messages of a session")
	returning   = flag.Bool("returning", false, "come again where told so")
	version     = flag.Int("mqtt", 0, "speak MQTT through the sessions: 4 is 3.1.1, 5 is 5.0")
)

func main() {
	flag.Parse()
	l := newLoad(readTokens())
	switch *mode {
	case "echo":
		l.echo()
	case "fan":
		l.fan()
	case "idle":
		l.idle()
	case "sessions":
		l.comeAndGo()
	case "storm":
		l.storm()
	case "steady":
		l.steady()
	default:
		poll.Fail("no such mode: %s", *mode)
	}
}

var steps = bufio.NewReader(os.Stdin)

func say(what any) {
	line, err := json.Marshal(what)
	poll.Must(err, "result")
	fmt.Println(string(line))
}

// await the word to go on; its absence is the end.
func (l *load) await() string {
	defer func() { l.heardAt = nanotime() }()
	line, err := steps.ReadString('\n')
	if err != nil {
		os.Exit(0)
	}
	return strings.TrimSpace(line)
}

func readTokens() []string {
	if *tokens == "" {
		return []string{""}
	}
	text, err := os.ReadFile(*tokens)
	poll.Must(err, "tokens")
	return strings.Fields(string(text))
}

// Result of a step. Latencies are in microseconds.
type Result struct {
	Count   int64   `json:"count"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Max     float64 `json:"max_us"`
	Refused int     `json:"refused"`
}

func (l *load) result(count int64, began time.Time) Result {
	return Result{
		Count:   count,
		Seconds: time.Since(began).Seconds(),
		P50:     l.times.quantile(0.5),
		P99:     l.times.quantile(0.99),
		Max:     float64(l.times.max) / 1000,
		Refused: l.refused,
	}
}

// echo: every message that comes back is followed by the next.
func (l *load) echo() {
	var stopAt int64
	l.onMessages = func(s *session, n int) {
		l.times.add(l.now, s.took(n))
		if l.now < stopAt && l.done < *messages {
			l.send(s, n)
		}
	}
	run := func(duration float64) {
		stopAt = nanotime() + int64(duration*1e9)
		l.now = nanotime()
		for _, s := range l.live {
			l.send(s, *inflight)
		}
		for l.done < l.asked {
			l.turn()
		}
	}
	l.openAll(*connections)
	run(*warm)
	say("ready")
	l.await()
	before, began := l.done, time.Now()
	l.times = histogram{}
	run(*seconds)
	say(l.result(l.done-before, began))
	l.await()
	l.leave()
}

// fan: the upstream says the same to all sessions; when all have heard it, it says the next.
func (l *load) fan() {
	speaker, _, err := poll.Connect(*broadcast)
	poll.Must(err, "the echo's second port")
	var saidAt int64
	l.onMessages = func(_ *session, n int) { l.times.addMany(l.now-saidAt, n) }
	words := bytes.Repeat(serverFrame(l.payload), *inflight)
	run := func(duration float64) {
		stopAt := nanotime() + int64(duration*1e9)
		for saidAt = nanotime(); saidAt < stopAt && l.done < *messages; saidAt = nanotime() {
			l.asked += int64(len(l.live) * *inflight)
			if n, ok := poll.Write(speaker, words); !ok || n < len(words) {
				poll.Fail("the echo did not take what it should spread")
			}
			for l.done < l.asked {
				l.turn()
			}
		}
	}
	l.openAll(*connections)
	run(*warm)
	say("ready")
	l.await()
	before, began := l.done, time.Now()
	l.times = histogram{}
	run(*seconds)
	say(l.result(l.done-before, began))
	l.await()
	l.leave()
}

// idle: open as many as each line says, each with one message behind it, and do nothing.
func (l *load) idle() {
	for {
		say("ready")
		count, err := strconv.Atoi(l.await())
		if err != nil {
			break
		}
		l.openAll(count)
	}
	l.leave()
}

// comeAndGo: a session is opened, has one message echoed, and says Close. So many in all, few at a time.
func (l *load) comeAndGo() {
	say("ready")
	l.await()
	began := time.Now()
	l.times = histogram{}
	l.onOpen = func(s *session) {
		l.times.addMany(l.now-s.beganAt, 1)
		l.close(s)
	}
	for begun := 0; begun < *connections || len(l.live) > 0; {
		for begun < *connections && len(l.live) < *opening {
			l.open()
			begun++
		}
		l.turn()
	}
	say(l.result(int64(*connections), began))
	l.await()
}

// steady: each session says its next message a while after the one before, whatever becomes of that, until there is a
// word. So a message that was held up is counted as late as it was, and so are all that waited behind it.
func (l *load) steady() {
	l.openAll(*connections)
	say("ready")
	l.await()
	before, began := l.done, time.Now()
	l.times = histogram{}
	l.onMessages = func(s *session, n int) { l.times.add(l.now, s.took(n)) }
	l.poller.Add(0, poll.In)
	every := int64(*pace * 1e9)
	first := nanotime()
	for said := int64(0); !l.told; {
		for due := first + said*every/int64(*connections); due <= nanotime(); due = first + said*every/int64(*connections) {
			if s := l.live[said%int64(*connections)]; s.pending < *inflight {
				l.now = due
				l.send(s, 1)
			}
			said++
		}
		l.turnWithin(1)
	}
	for l.done < l.asked {
		l.turn()
	}
	say(l.result(l.done-before, began))
	l.await() // the word itself
	l.await()
	l.leave()
}

// storm: all sessions are cut at once, and all come back at once.
func (l *load) storm() {
	l.openAll(*connections)
	say("ready")
	l.await()
	began := time.Now()
	l.times = histogram{}
	for len(l.live) > 0 {
		l.drop(l.live[0])
	}
	l.onOpen = func(s *session) { l.times.addMany(l.now-s.beganAt, 1) }
	*opening = *connections
	l.openAll(*connections)
	say(l.result(int64(*connections), began))
	l.await()
	l.leave()
}

func (l *load) openAll(count int) {
	for len(l.live)+len(l.later) < count || l.ready < l.begun || len(l.later) > 0 {
		for n := 0; n < opensPerTurn && len(l.live)+len(l.later) < count && l.begun-l.ready < *opening; n++ {
			l.open()
		}
		switch {
		case len(l.live)+len(l.later) < count && l.begun-l.ready < *opening:
			l.turnWithin(0)
		case len(l.later) > 0:
			l.turnWithin(10)
		default:
			l.turn()
		}
		l.comeAgain()
	}
}

// leave says Close on every session and waits for the ends, for a while.
func (l *load) leave() {
	for _, s := range l.live {
		l.close(s)
	}
	for until := time.Now().Add(3 * time.Second); len(l.live) > 0 && time.Now().Before(until); {
		l.turn()
	}
	syscall.Exit(0)
}
