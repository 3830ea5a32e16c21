package sipflow

import (
	"encoding/binary"
	"hash/maphash"
	"time"

	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// ended is what a shard keeps, for 32 s, of dialogs that are over: enough to
// respond to what was under way. Thousands end each second, so an entry holds
// hashes in place of strings and no pointer that the garbage collector would
// have to follow.
type ended struct {
	seed    maphash.Seed
	dialogs map[uint64]endedDialog // by local tag
	invites map[uint64]endedInvite // by the id in the branch
	queue   []endedEntry           // in the order of their end
	rights  rights                 // of the INVITEs
	sweep   timer
}

type endedDialog struct {
	callID uint64 // hash
	seq    uint32 // highest CSeq of the phone
	code   int16  // that request's response, 0 if it is not known; silent: another node has the call
	of     uint16 // and what tells it from others
}

// silent in place of a code has nothing of the dialog be responded to.
const silent = -1

// endedInvite stands for an INVITE whose 2xx made a dialog that is over (the
// Accepted state of RFC 6026 §8.4).
type endedInvite struct {
	callID, tag uint64 // hashes of Call-ID and remote tag
	localTag    uint64
	seq         uint32
	forks       uint8
	secure      bool   // over TLS or WSS
	pracked     bool   // see clientTx
	by          uint64 // where its right is, for hanging up those who answer late
}

// right is by what right a phone was called: whose secret may answer challenges, and
// whose they may be.
type right struct {
	cred     Credentials
	realm    string
	anyRealm bool
	servers  secretServers
}

// secretServers names those that may have a secret.
type secretServers struct {
	name string
	kind serversKind
}

type serversKind uint8

const (
	ofAddress serversKind = iota // name is an address of record or a domain
	ofURI                        // a URI
	ofGateway                    // the URI of a server that is asked without a proxy
)

// rights are those of the INVITEs that are remembered, in the order in which they are
// forgotten: as text, for strings would each be looked at in every garbage collection.
type rights struct {
	text    []byte
	dropped uint64 // bytes that were before text
}

// keep returns where a right is, 0 for nobody's.
func (r *rights) keep(by *right) uint64 {
	if *by == (right{}) {
		return 0
	}
	at := r.dropped + uint64(len(r.text))
	flags := byte(by.servers.kind) << 1
	if by.anyRealm {
		flags |= 1
	}
	r.text = append(r.text, flags)
	for _, s := range by.strings() {
		r.text = binary.AppendUvarint(r.text, uint64(len(*s)))
		r.text = append(r.text, *s...)
	}
	return at + 1
}

// read returns the right that keep returned at for, and how many bytes it takes.
func (r *rights) read(at uint64) (by right, size int) {
	if at == 0 {
		return right{}, 0
	}
	text := r.text[at-1-r.dropped:]
	by.anyRealm, by.servers.kind = text[0]&1 != 0, serversKind(text[0]>>1)
	size = 1
	for _, s := range by.strings() {
		length, n := binary.Uvarint(text[size:])
		size += n
		*s = string(text[size : size+int(length)])
		size += int(length)
	}
	return by, size
}

// drop forgets what was kept before at, and what is there.
func (r *rights) drop(at uint64) {
	if at == 0 {
		return
	}
	_, size := r.read(at)
	n := int(at-1-r.dropped) + size
	r.dropped += uint64(n)
	if r.text = append(r.text[:0], r.text[n:]...); len(r.text) == 0 {
		r.text = nil
	}
}

// strings are the texts of a right, in the order in which they are kept.
func (by *right) strings() [6]*string {
	return [...]*string{&by.cred.Username, &by.cred.Password, &by.cred.HA1, &by.cred.HA1SHA256, &by.realm, &by.servers.name}
}

type endedEntry struct {
	at             time.Duration
	dialog, invite uint64 // keys; 0: none
}

func (e *ended) init() {
	e.seed = maphash.MakeSeed()
	e.dialogs, e.invites = map[uint64]endedDialog{}, map[uint64]endedInvite{}
}

// bury enters a leg that ends, whose phone was called by that right. husked legs respond
// to requests themselves. The shard's lock is held.
func (s *shard) bury(l *Leg, husked bool, by right) {
	e := &s.ended
	var entry endedEntry
	if l.call.forgotten() {
		entry.dialog = l.id
		e.dialogs[l.id] = endedDialog{callID: maphash.String(e.seed, l.callID), code: silent}
	} else if !husked {
		entry.dialog = l.id
		last := l.peer.latest()
		e.dialogs[l.id] = endedDialog{callID: maphash.String(e.seed, l.callID), seq: l.peer.seq, code: last.code, of: last.of}
	}
	if tx := l.accepted; tx != nil && tx.ack != nil {
		tx.leg = nil // its ACK cannot be made anew: the transaction stays
	} else if tx != nil && tx.state == accepted && !l.call.forgotten() {
		entry.invite = tx.id
		e.invites[tx.id] = endedInvite{callID: maphash.String(e.seed, tx.callID), tag: maphash.String(e.seed, tx.tag),
			localTag: tx.localTag, seq: tx.seq, forks: tx.forks, secure: transport.Encrypted(transport.Of(tx.path.Link)),
			pracked: tx.pracked, by: e.rights.keep(&by)}
		tx.remove(s)
	}
	if entry == (endedEntry{}) {
		return
	}
	entry.at = s.now()
	e.queue = append(e.queue, entry)
	if len(e.queue) == 1 {
		e.sweep.set(s, tEnd, e)
	}
}

// expire implements expirer: it forgets what is older than 32 s.
func (e *ended) expire(s *shard) func() {
	limit := s.now() - tEnd
	n, last := 0, uint64(0)
	for n < len(e.queue) && e.queue[n].at <= limit {
		delete(e.dialogs, e.queue[n].dialog)
		last = max(last, e.invites[e.queue[n].invite].by)
		delete(e.invites, e.queue[n].invite)
		n++
	}
	e.rights.drop(last)
	e.queue = append(e.queue[:0], e.queue[n:]...)
	if len(e.queue) > 0 {
		e.sweep.set(s, 2*t1, e)
	} else {
		e.queue = nil
	}
	return nil
}

// abort implements expirer: nothing is remembered any more.
func (e *ended) abort(s *shard) func() {
	e.dialogs, e.invites, e.queue, e.rights = map[uint64]endedDialog{}, map[uint64]endedInvite{}, nil, rights{}
	return nil
}

// onRequest returns the response to a request within a dialog that is over:
// repeats of earlier requests, a BYE that crossed ours.
func (d endedDialog) onRequest(e *ended, m *wire.Message, from transport.Path) wire.Reply {
	switch {
	case maphash.Bytes(e.seed, m.Get(wire.CallID)) != d.callID:
		return wire.Reply{Code: 481}
	case m.Method() == "ACK", d.code == silent:
		return wire.Reply{}
	case m.Method() == "INVITE" && m.Seq() <= d.seq: // it ended with the call (RFC 3261 §15.1.2)
		return wire.Reply{Code: 487}
	case m.Method() == "BYE", m.Method() == "NOTIFY" && m.Seq() <= d.seq: // the subscription is over, too
		return replyOf(200, from)
	case m.Seq() == d.seq && d.code != 0 && transactionOf(m) == d.of:
		return again(m, int(d.code), from)
	}
	return wire.Reply{Code: 481}
}

// onLate takes a response to an INVITE that has no transaction any more.
// Repeats of its 2xx are acknowledged, 2xx of further branches hung up (RFC
// 3261 §13.2.2.4). The shard's lock is held; the rest is to be done after it.
func (e *ended) onLate(sw *Switchboard, id uint64, m *wire.Message, from transport.Path) func() {
	inv, ok := e.invites[id]
	if !ok || m.Method() != "INVITE" || m.Code() < 200 || m.Code() > 299 || m.Seq() != inv.seq ||
		maphash.Bytes(e.seed, m.Get(wire.CallID)) != inv.callID {
		return nil
	}
	if tag, ok := parseID(m.FromTag()); !ok || tag != inv.localTag || inv.secure && !transport.Encrypted(transport.Of(from.Link)) {
		return nil
	}
	tx := &clientTx{id: id, callID: string(m.Get(wire.CallID)), localTag: inv.localTag, method: "INVITE", path: from, seq: inv.seq, pracked: inv.pracked}
	if maphash.Bytes(e.seed, m.ToTag()) == inv.tag {
		return func() { sw.repeatAck(tx, m) }
	}
	if inv.forks >= maxForks {
		sw.stats.limited[LimitForks].Add(1)
		return nil
	}
	inv.forks++
	e.invites[id] = inv
	by, _ := e.rights.read(inv.by)
	return func() { sw.hangUpFork(tx, from, m, nil, by) }
}
