package callcontroller

import (
	"encoding/binary"
	"math"
	"time"

	"sipxrest/schema"
	"sipxrest/sipflow"
)

// In a cluster a record is kept with its call's state: another node shows it when this one
// does not answer, and goes on with it when it has taken the call over. After the call it
// is what other nodes show.

// Door is the name under which records are kept.
const Door = "callcontroller"

const (
	// keptVersion is that of the form in which records are kept. Others are not read.
	keptVersion = 1
	// maxKeptText bounds a text of a record that another node has kept: a Call-ID or a URI
	// may be as long as a message.
	maxKeptText = 64 << 10
)

// keep has the record be kept with the call's state.
func (r *record) keepWith(spec *sipflow.Spec) {
	spec.Kept = &sipflow.Kept{Door: Door, Record: r.appendKept}
}

// appendKept appends the record for readKept.
func (r *record) appendKept(dst []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	dst = append(dst, keptVersion, boolByte(r.method == methodRefer), boolByte(r.ended))
	dst = appendText(dst, r.c.boot)
	dst = appendText(dst, r.id)
	dst = binary.AppendUvarint(dst, r.seq)
	dst = binary.AppendUvarint(dst, uint64(r.version))
	dst = binary.AppendUvarint(dst, uint64(max(r.keep, 0)/time.Millisecond))
	var lines []schema.StatusLine
	lines = r.linesLocked(lines)
	dst = binary.AppendUvarint(dst, uint64(len(lines)))
	for i := range lines {
		l := &lines[i]
		dst = binary.AppendVarint(dst, l.At.UnixMilli())
		for _, text := range [...]string{l.CallID, l.Method, l.Text} {
			dst = appendText(dst, text)
		}
	}
	if r.run == nil {
		return binary.AppendUvarint(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.run.dialogs)))
	for i := range r.run.dialogs {
		d := &r.run.dialogs[i]
		dst = binary.AppendUvarint(dst, d.Leg)
		for _, text := range [...]string{d.ID, d.Local, d.Remote, string(d.State)} {
			dst = appendText(dst, text)
		}
		until := int64(0)
		if !d.until.IsZero() {
			until = d.until.UnixMilli()
		}
		dst = binary.AppendVarint(dst, until)
	}
	return dst
}

func boolByte(is bool) byte {
	if is {
		return 1
	}
	return 0
}

// readKept makes a record of what another node has kept, and returns that node's boot. It
// is false for what no record is. No key leads to it.
func (c *Controller) readKept(data []byte) (r *record, boot string, ok bool) {
	k := keptReader{rest: data}
	if k.byte() != keptVersion {
		return nil, "", false
	}
	r = &record{c: c, method: methodInvite, lost: true}
	if k.byte() == 1 {
		r.method = methodRefer
	}
	r.ended = k.byte() == 1
	boot, r.id = k.text(), k.text()
	r.seq, r.version = k.uint(math.MaxUint64), uint32(k.uint(math.MaxUint32))
	r.keep = time.Duration(k.uint(uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond
	for range k.uint(firstLines + lastLines) {
		r.lines = append(r.lines, line{at: k.int(), callID: k.text(), method: intern(k.text()), text: intern(trim(k.text()))})
	}
	run := &running{}
	for range k.uint(maxDialogs) {
		d := dialog{Dialog: sipflow.Dialog{Leg: k.uint(math.MaxUint64), ID: k.text(), Local: k.text(), Remote: k.text(), State: sipflow.DialogState(k.text())}}
		if until := k.int(); until != 0 {
			d.until = time.UnixMilli(until)
		}
		run.dialogs = append(run.dialogs, d)
	}
	if k.wrong || len(k.rest) > 0 {
		return nil, "", false
	}
	if len(run.dialogs) > 0 || !r.ended {
		r.run = run
	}
	r.weigh()
	return r, boot, true
}

// weigh counts the texts of lines that were not added one by one. It gives up the oldest
// of the last lines where those are more than a record may have.
func (r *record) weigh() {
	for i := range r.lines {
		size := len(r.lines[i].text)
		if r.first == 0 && i < firstLines && int(r.begun)+size <= firstBytes {
			r.begun += uint16(size)
			continue
		}
		if r.first == 0 {
			r.first = uint8(max(i, 1))
			if i == 0 {
				r.begun = uint16(size)
				continue
			}
		}
		r.late += uint16(min(size, math.MaxUint16-int(r.late)))
	}
	if r.ended {
		r.packed, r.count, r.lines = pack(r.lines), uint8(len(r.lines)), nil
	}
}

// A keptReader reads what appendKept wrote. After something wrong everything is zero.
type keptReader struct {
	rest  []byte
	wrong bool
}

func (k *keptReader) fail() {
	k.rest, k.wrong = nil, true
}

func (k *keptReader) byte() byte {
	if len(k.rest) == 0 {
		k.fail()
		return 0
	}
	b := k.rest[0]
	k.rest = k.rest[1:]
	return b
}

func (k *keptReader) uint(most uint64) uint64 {
	v, n := binary.Uvarint(k.rest)
	if n <= 0 || v > most {
		k.fail()
		return 0
	}
	k.rest = k.rest[n:]
	return v
}

func (k *keptReader) int() int64 {
	v, n := binary.Varint(k.rest)
	if n <= 0 {
		k.fail()
		return 0
	}
	k.rest = k.rest[n:]
	return v
}

func (k *keptReader) text() string {
	n := k.uint(min(maxKeptText, uint64(len(k.rest))))
	if n > uint64(len(k.rest)) {
		k.fail()
		return ""
	}
	s := string(k.rest[:n])
	k.rest = k.rest[n:]
	return s
}

// Resume gives a call that this node has taken over its record, if the call controller has
// placed it: GETs show it from now on, and it goes on. It is part of sipflow.Config.Resume.
func (c *Controller) Resume(spec *sipflow.Spec, kept []byte) {
	r, _, ok := c.readKept(kept)
	if !ok { // of another release: what comes from now on is shown
		r = &record{c: c, id: spec.ID, method: methodInvite, keep: c.cfg.ResultCacheTime, lost: true}
		if spec.Method == sipflow.MethodRefer {
			r.method = methodRefer
		}
	}
	r.seq = c.seq.Add(1)
	if r.run == nil {
		r.run = &running{}
	}
	r.ended = false
	if r.packed != "" { // its end was to be told again
		for _, l := range unpack(nil, r.packed) {
			r.lines = append(r.lines, line{at: l.At.UnixMilli(), callID: l.CallID, method: l.Method, text: l.Text})
		}
		r.packed, r.count = "", 0
	}
	r.run.keys = []sipflow.Key{spec.Key}
	spec.Observe = r.observe
	r.keepWith(spec)
	c.records.take(spec.Key, r)
}
