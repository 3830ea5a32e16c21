package media

import "encoding/binary"

const keys = "0123456789*#ABCD" // by event (RFC 4733 §3.2)

// digits finds keys in telephone-event packets, of which there are many for
// each key. It is guarded by Session.mu. The zero value is ready.
type digits struct {
	known    bool
	ts       uint32 // of the last event
	event    byte
	duration uint32 // so far
	waiting  [16]byte
	n        int
}

func (d *digits) reset() { d.known = false }

// push takes the payload of a packet. A key counts by its first packet that
// arrives, which may be its last.
func (d *digits) push(ts uint32, payload []byte) {
	if len(payload) < 4 {
		return
	}
	event, duration := payload[0], uint32(binary.BigEndian.Uint16(payload[2:]))
	if d.known {
		switch since := int32(ts - d.ts); {
		case since < 0: // late
			return
		case since == 0:
			d.duration = max(d.duration, duration)
			return
		case event == d.event && d.duration > 0xf000 && uint32(since) <= 0xffff+clockRate: // a key held for longer than a packet can say (RFC 4733 §2.5.1.3)
			d.ts, d.duration = ts, duration
			return
		}
	}
	d.known, d.ts, d.event, d.duration = true, ts, event, duration
	if int(event) < len(keys) && d.n < len(d.waiting) {
		d.waiting[d.n] = keys[event]
		d.n++
	}
}

// take gives the keys since it was called last.
func (d *digits) take() (list [16]byte, n int) {
	list, n = d.waiting, d.n
	d.n = 0
	return list, n
}
