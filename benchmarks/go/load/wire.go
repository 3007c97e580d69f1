package main

import (
	wide "encoding/binary"
	"math/bits"
)

const (
	binary  = 0x2
	closing = 0x8
)

var mask = [4]byte{0x37, 0xFA, 0x21, 0x3D}

func clientFrame(opcode byte, payload []byte) []byte {
	frame := frameHead(opcode, 0x80, len(payload))
	frame = append(frame, mask[:]...)
	for i, b := range payload {
		frame = append(frame, b^mask[i&3])
	}
	return frame
}

func serverFrame(payload []byte) []byte {
	return append(frameHead(binary, 0, len(payload)), payload...)
}

func frameHead(opcode, masked byte, length int) []byte {
	switch {
	case length < 126:
		return []byte{0x80 | opcode, masked | byte(length)}
	case length < 1<<16:
		return []byte{0x80 | opcode, masked | 126, byte(length >> 8), byte(length)}
	default:
		return append([]byte{0x80 | opcode, masked | 127}, wide.BigEndian.AppendUint64(nil, uint64(length))...)
	}
}

// MQTT 3.1.1 (4) and 5.0 (5): a client that subscribes to a topic of its own and publishes there, QoS 0.

func connectPacket(version int, id string) []byte {
	body := append(text("MQTT"), byte(version), 2, 0, 60)
	return packet(0x10, append(withProperties(version, body), text(id)...))
}

func subscribePacket(version int, topic string) []byte {
	body := withProperties(version, []byte{0, 1})
	return packet(0x82, append(append(body, text(topic)...), 0))
}

func publishPacket(version int, topic string, payload []byte) []byte {
	return packet(0x30, append(withProperties(version, text(topic)), payload...))
}

func withProperties(version int, body []byte) []byte {
	if version == 5 {
		return append(body, 0)
	}
	return body
}

func text(value string) []byte {
	return append([]byte{byte(len(value) >> 8), byte(len(value))}, value...)
}

func packet(first byte, body []byte) []byte {
	head := []byte{first}
	left := len(body)
	for {
		digit := byte(left & 0x7F)
		if left >>= 7; left > 0 {
			head = append(head, digit|0x80)
			continue
		}
		return append(append(head, digit), body...)
	}
}

// histogram of nanoseconds, with 64 steps to a factor of two.
type histogram struct {
	counts [58 * 64]int64
	total  int64
	max    int64
}

func (h *histogram) add(now int64, since []int64) {
	for _, stamp := range since {
		h.addMany(now-stamp, 1)
	}
}

func (h *histogram) addMany(value int64, count int) {
	shift := bits.Len64(uint64(value)) - 7
	if shift < 0 {
		shift = 0
	}
	h.counts[shift<<6+int(value>>shift)] += int64(count)
	h.total += int64(count)
	if value > h.max {
		h.max = value
	}
}

// quantile in microseconds.
func (h *histogram) quantile(share float64) float64 {
	left := int64(share * float64(h.total))
	for i, count := range h.counts {
		if left -= count; left < 0 {
			shift := 0
			if i >= 128 {
				shift = i>>6 - 1
			}
			return float64(int64(i-shift<<6)<<shift) / 1000
		}
	}
	return 0
}
