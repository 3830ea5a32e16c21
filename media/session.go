package media

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"sipxrest/internal/boundary"

	"github.com/pion/rtp"
)

const frameTime = 20 * time.Millisecond

// Options belong to one leg. The callbacks are made from one goroutine, one
// after the other, must return at once and must not call [Session.Close]. Each
// may be nil.
type Options struct {
	// Signaling is the address that the leg's SIP comes from, if it is known to be the
	// phone's or its NAT's: RTP from there may be latched on. Not that of a proxy.
	Signaling netip.Addr

	// Security says whether audio is encrypted. The zero value does what the peer offers.
	Security Security

	// Audio gets 20 ms of sound: 320 samples at 16 kHz, which are valid until
	// it returns. From the first packet on it is called every 20 ms until the
	// end, with silence when nothing comes.
	Audio func(pcm []int16)

	// Digit gets each key that is pressed (RFC 4733), once: 0-9, *, #, A-D.
	Digit func(key byte)

	// Stepped makes the owner the session's clock: it calls [Session.Pull] and then
	// [Session.Push] every 20 ms, from one goroutine at a time. The callbacks are
	// made by Pull, but for Audio, and nothing of [Session.Write] is sent.
	Stepped bool

	// NoMedia is called when 60 s have passed without a sign of life although the
	// peer should send; again only after one has come in between. RTP is one, and
	// so are comfort noise and RTCP: a muted phone sends nothing else.
	NoMedia func()
}

// Stats counts packets since the session was opened.
type Stats struct {
	Sent       uint64 // RTP packets
	SendErrors uint64 // packets that the system did not take
	Overrun    uint64 // samples to the phone that were dropped because they came too fast

	Received  uint64 // RTP packets of the stream
	Lost      uint64 // were not there when their turn came
	Late      uint64 // of those, came after it
	Reordered uint64 // came out of order, but in time
	Duplicate uint64
	Dropped   uint64 // came in time, but too many of them waited
	Ignored   uint64 // not RTP, of a payload type that was not agreed, while held, stray sequence number or SSRC
	Foreign   uint64 // from an address that does not count
	Forged    uint64 // of an encrypted session: not by the peer's key, or repeated

	Jitter     time.Duration // of arrival (RFC 3550 §6.4.1)
	RoundTrip  time.Duration // by RTCP, 0 while unknown
	RemoteLost float64       // share of our packets that the peer's last report says are lost, 0 to 1
}

// Session is the audio of one leg. It is safe for concurrent use.
type Session struct {
	ports *Ports
	opt   Options
	id    uint64 // of o=
	port  uint16
	rtp   Conn
	rtcp  Conn
	cname string

	out   pacer
	begin time.Time // when the session was opened; arrival times count from here
	close sync.Once
	done  chan struct{}
	clock sync.WaitGroup
	read  sync.WaitGroup

	mu      sync.Mutex
	started bool // the clock
	closed  bool

	version      uint64 // of o=
	described    []byte // the last description of ours
	offered      []format
	offeredLines []line
	offeredLine  int
	offeredKeys  []*sdes            // ours, nil: plain RTP was offered
	spare        [len(suites)]*sdes // ours that were offered and not agreed on, by suite
	secured      bool               // our first offer is RTP/SAVP: see Expect
	lines        []line             // as agreed on
	terms        *terms             // nil before the first agreement
	named        netip.AddrPort     // the last address of the peer's descriptions

	ssrc       uint32  // ours; written by the clock, which reads it without mu
	mine       *sdes   // by which we encrypt, nil: we do not
	rx         *opener // by which we decrypt, nil: we do not
	before     *opener // the one before, nil: there is none any more
	beforeTill time.Time
	clear      [maxPacket + 1]byte // a packet that was decrypted
	sentBefore uint64              // packets of our streams before this one

	source   netip.AddrPort // that is latched on
	exact    bool           // source has been the named address
	peer     reception      // its stream
	control  netip.AddrPort // where its RTCP comes from
	nextSSRC uint32         // has shown one packet
	nextSeq  uint16         // would show it again
	heard    time.Time      // when its last packet came
	alive    time.Time      // when anything of the peer's came: RTCP and comfort noise, too
	deaf     time.Time      // until when a stepped session leaves out what it hears: there are digits in it
	quiet    bool           // NoMedia was called
	playing  bool           // Audio is called
	jitter   jitter
	digits   digits
	presses  presses
	stats    Stats

	// These belong to the clock, or to who calls Pull and Push.
	began    time.Time // when the first frame was pushed
	press    press     // that is being sent
	enc      encoder
	pcm      [frameSamples]int16
	packet   [12 + frameTicks]byte
	sealing  *sealer
	sealed   [12 + frameTicks + 64]byte // with what SRTP adds to it
	header   rtp.Header
	payload  [frameTicks]byte
	ts       uint32
	seq      uint16
	idle     int // frames since the last packet
	silent   int // frames of silence since the last sound
	frames   int // that have been dealt with
	report   time.Time
	octets   uint32
	reported uint64 // packets sent, at the last report
}

// Open binds a pair of ports. The error is [ErrNoPorts] when there is none.
func (p *Ports) Open(opt Options) (*Session, error) {
	port, rtp, rtcp, err := p.take()
	if err != nil {
		return nil, err
	}
	s := &Session{
		ports: p, opt: opt, port: port, rtp: rtp, rtcp: rtcp,
		id: rand.Uint64() >> 2, ssrc: rand.Uint32(), ts: rand.Uint32(), seq: firstSeq(), // RFC 3550 §5.1
		cname: cname(), begin: time.Now(), done: make(chan struct{}),
		silent: keepSilence, idle: keepAlive,
	}
	s.opt.Signaling = opt.Signaling.Unmap()
	s.jitter.stats = &s.stats
	s.jitter.bad = -1
	s.jitter.hidden = fadeSamples // there is nothing yet that a gap could be filled with
	s.read.Go(s.readRTP)
	s.read.Go(s.readRTCP)
	return s, nil
}

// Port is the local RTP port.
func (s *Session) Port() uint16 { return s.port }

// Write sends pcm, 16 kHz mono, to the phone. It takes any number of samples,
// keeps none of the slice, and never waits: of what is too much the oldest is dropped.
func (s *Session) Write(pcm []int16) { s.out.write(pcm) }

// Directions reports whether we send to the phone and whether it sends to us,
// by the last negotiation: a phone that holds its call does not want one or
// both.
func (s *Session) Directions() (send, receive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terms == nil {
		return false, false
	}
	return s.terms.sends() && s.terms.addr.IsValid(), s.terms.receives()
}

// Codec is the name of the codec that we send, "" before the first negotiation.
func (s *Session) Codec() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terms == nil {
		return ""
	}
	return s.terms.codec.String()
}

// Suite is the crypto suite (RFC 4568 §6.2) by which audio is encrypted to the phone
// and from it, "" if it is not.
func (s *Session) Suite() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mine == nil {
		return ""
	}
	return s.mine.suite.name
}

// Stats is also right after Close.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Overrun = s.out.lost()
	st.Jitter = ticks(int(s.peer.jitter))
	return st
}

// Close says goodbye by RTCP, closes the sockets, waits for the session's
// goroutines and gives the ports back. It may be called again.
func (s *Session) Close() {
	s.close.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		close(s.done)
		s.clock.Wait()
		s.bye()
		_ = s.rtp.Close()
		_ = s.rtcp.Close()
		s.read.Wait()
		s.ports.free(s.port)
	})
}

// start starts the clock, once. The caller holds s.mu.
func (s *Session) start() {
	if !s.started && !s.closed && !s.opt.Stepped {
		s.started = true
		s.clock.Go(s.run)
	}
}

// run is the clock.
func (s *Session) run() {
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	began := time.Now()
	s.report = began.Add(reportAfter())
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
			boundary.Try(s.ports.cfg.Log, "a frame of a call", func() { s.tick(time.Now(), began) })
		}
	}
}

// tick makes up for ticks that were missed, but not for many: the phone could not play
// them, and time has passed for it, too.
func (s *Session) tick(now, began time.Time) {
	due := int(now.Sub(began)/frameTime) - s.frames
	s.frames += due
	if due > makeUp {
		s.ts += uint32(due-makeUp) * frameTicks
		due = makeUp
	}
	for range due {
		s.sendFrame()
		s.playFrame(now)
	}
	s.reportIfDue(now)
}

// makeUp is how many frames that were missed are sent after all.
const makeUp = 5

// reportIfDue sends the report of this interval.
func (s *Session) reportIfDue(now time.Time) {
	if !now.Before(s.report) {
		s.sendReport(now)
		s.report = now.Add(reportAfter())
	}
}

// playFrame makes the callbacks.
func (s *Session) playFrame(now time.Time) {
	playing, n := s.pull(now)
	if playing && s.opt.Audio != nil {
		s.opt.Audio(s.pcm[:])
	}
	s.tell(n)
}

// pull takes the next frame, if there is one.
func (s *Session) pull(now time.Time) (playing bool, n notices) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.playing {
		s.jitter.pull(&s.pcm, now)
	}
	return s.playing, s.notices(now)
}

// notices are what the owner is told of at the end of a frame.
type notices struct {
	keys   [16]byte
	n      int  // of keys
	silent bool // NoMedia
}

// notices takes those that are due. The caller holds s.mu.
func (s *Session) notices(now time.Time) (n notices) {
	n.keys, n.n = s.digits.take()
	n.silent = s.terms.receives() && !s.quiet && now.Sub(s.alive) >= noMedia
	s.quiet = s.quiet || n.silent
	return n
}

// tell makes the callbacks Digit and NoMedia.
func (s *Session) tell(n notices) {
	if s.opt.Digit != nil {
		for _, k := range n.keys[:n.n] {
			s.opt.Digit(k)
		}
	}
	if n.silent {
		s.ports.cfg.Log.Info("no RTP from the phone", "port", s.port, "for", noMedia)
		if s.opt.NoMedia != nil {
			s.opt.NoMedia()
		}
	}
}

const noMedia = 60 * time.Second
