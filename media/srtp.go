package media

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

const (
	replayWindow = 128             // packets; RFC 3711 §3.3.2 wants 64
	maxStreams   = 1024            // SSRCs under one key
	oldKeyTime   = 5 * time.Second // how long packets by the key before are taken, unless one by the new key has come
	maxSealed    = maxPacket + 64  // a packet with all that SRTP adds to it
)

// sealer encrypts by a key of ours. One key has one sealer for as long as it is in use: to
// begin anew would encrypt two packets by the same key stream.
type sealer struct {
	mu  sync.Mutex // the clock sends, and so does Close
	ctx *srtp.Context
}

// newSealer never fails for a key of [newKey]; one that does not encrypt sends nothing.
func newSealer(k *sdes) *sealer {
	ctx, err := srtp.CreateContext(k.secret[:k.suite.key], k.secret[k.suite.key:], k.suite.profile)
	if err != nil {
		return &sealer{}
	}
	return &sealer{ctx: ctx}
}

var errNoContext = errors.New("media: there is no context to encrypt by")

// rtp encrypts a packet into memory of dst. h is memory that it may use.
func (s *sealer) rtp(dst, packet []byte, h *rtp.Header) ([]byte, error) {
	if s.ctx == nil {
		return nil, errNoContext
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx.EncryptRTP(dst, packet, h)
}

func (s *sealer) rtcp(packet []byte) ([]byte, error) {
	if s.ctx == nil {
		return nil, errNoContext
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx.EncryptRTCP(nil, packet, nil)
}

// rolled is how often the sequence numbers of a stream have begun anew.
func (s *sealer) rolled(ssrc uint32) uint32 {
	if s.ctx == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, _ := s.ctx.ROC(ssrc)
	return n
}

// opener checks and decrypts packets by a key of the peer's. It is guarded by
// Session.mu.
type opener struct {
	key *sdes
	ctx *srtp.Context

	proved  bool   // a packet was by this key
	packets uint64 // that were
	streams int    // SSRCs that were, of RTP and of RTCP
	told    bool   // that its lifetime is over

	// A peer that changes its key may go on counting how often its sequence
	// numbers have begun anew, as RFC 3711 §3.3.1 wants it, or begin with 0, as most do.
	ssrc   uint32 // of the stream under the key before
	rolled uint32 // how often its numbers have
}

func newOpener(k *sdes) (*opener, error) {
	opts := []srtp.ContextOption{srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow)}
	if k.mki != nil {
		opts = append(opts, srtp.MasterKeyIndicator(k.mki))
	}
	ctx, err := srtp.CreateContext(k.secret[:k.suite.key], k.secret[k.suite.key:], k.suite.profile, opts...)
	if err != nil {
		return nil, unacceptable("keys for %s: %v", k.suite.name, err)
	}
	return &opener{key: k, ctx: ctx}, nil
}

var (
	errStreams = errors.New("media: too many streams under one key")
	errUsedUp  = errors.New("media: the key's lifetime is over")
	errShort   = errors.New("media: RTCP that is too short")
)

// rtp decrypts a packet into memory of dst.
func (o *opener) rtp(dst, packet []byte, h *rtp.Header) ([]byte, error) {
	if o.packets >= o.key.lifetime {
		return nil, errUsedUp
	}
	_, known := o.ctx.ROC(h.SSRC)
	if !known && o.streams >= maxStreams {
		return nil, errStreams
	}
	clear, err := o.ctx.DecryptRTP(dst, packet, h)
	if err != nil && !o.proved && o.rolled > 0 && h.SSRC == o.ssrc {
		for _, n := range [...]uint32{o.rolled, o.rolled + 1} { // it may have just begun anew
			o.ctx.SetROC(o.ssrc, n)
			if clear, err = o.ctx.DecryptRTP(dst, packet, h); err == nil {
				break
			}
			o.ctx.SetROC(o.ssrc, 0)
		}
	}
	if err != nil {
		return nil, err
	}
	o.proved = true
	o.packets++
	if !known {
		o.streams++
	}
	return clear, nil
}

// rtcp decrypts a compound packet into memory of dst.
func (o *opener) rtcp(dst, packet []byte) ([]byte, error) {
	var h rtcp.Header
	if len(packet) < 8 {
		return nil, errShort
	}
	_, known := o.ctx.Index(binary.BigEndian.Uint32(packet[4:]))
	if !known && o.streams >= maxStreams {
		return nil, errStreams
	}
	clear, err := o.ctx.DecryptRTCP(dst, packet, &h)
	if err == nil && !known {
		o.streams++
	}
	return clear, err
}

// decrypt returns a packet in the clear, nil for one that is not by the key of the
// peer, or is repeated. The caller holds s.mu.
func (s *Session) decrypt(packet []byte, h *rtp.Header, now time.Time) []byte {
	return s.opened(packet, now, func(o *opener) ([]byte, error) { return o.rtp(s.clear[:0], packet, h) })
}

// decryptRTCP is decrypt for RTCP.
func (s *Session) decryptRTCP(packet []byte, now time.Time) []byte {
	return s.opened(packet, now, func(o *opener) ([]byte, error) { return o.rtcp(s.clear[:0], packet) })
}

// opened tries the key of the peer, and for a while the one before: what was sent
// before our answer came is still on its way.
func (s *Session) opened(packet []byte, now time.Time, open func(*opener) ([]byte, error)) []byte {
	if s.rx != nil {
		clear, err := open(s.rx)
		if err == nil {
			s.before = nil
			return clear
		}
		if errors.Is(err, errUsedUp) && !s.rx.told {
			s.rx.told = true
			s.ports.cfg.Log.Info("the phone goes on with an SRTP key whose lifetime is over", "port", s.port)
		}
	}
	if s.before != nil && now.After(s.beforeTill) {
		s.before = nil
	}
	if s.before != nil {
		if clear, err := open(s.before); err == nil {
			return clear
		}
	}
	if s.rx == nil {
		return packet
	}
	return nil
}

// secure takes the keys that were agreed on. The caller holds s.mu.
func (s *Session) secure(t *terms, mine *sdes, now time.Time) error {
	switch {
	case t.crypto == nil && s.rx != nil:
		s.before, s.rx = s.rx, nil
		s.beforeTill = now.Add(oldKeyTime)
	case t.crypto == nil || s.rx != nil && s.rx.key.same(t.crypto):
	default:
		o, err := newOpener(t.crypto)
		if err != nil {
			return err
		}
		if s.rx != nil {
			o.ssrc = s.peer.ssrc
			o.rolled, _ = s.rx.ctx.ROC(o.ssrc)
			s.before, s.beforeTill = s.rx, now.Add(oldKeyTime)
		}
		s.rx = o
	}
	s.mine = mine
	for i, k := range s.spare {
		if k != nil && mine != nil && k.seal == mine.seal {
			s.spare[i] = nil
		}
	}
	return nil
}

// sealBy is what the clock encrypts by, nil: it does not. With a new key a
// stream begins anew if the phone could otherwise not know how often its
// numbers have begun anew (RFC 3711 §3.3.1). The caller holds s.mu.
func (s *Session) sealBy() *sealer {
	if s.mine == nil {
		s.sealing = nil
		return nil
	}
	if k := s.mine.seal; k != s.sealing {
		if s.sealing != nil && s.sealing.rolled(s.ssrc) > 0 || s.seq >= 1<<15 {
			s.ssrc, s.seq = rand.Uint32(), firstSeq()
			s.sentBefore, s.octets = s.stats.Sent, 0
		}
		s.sealing = k
	}
	return s.sealing
}

// firstSeq leaves room below the first rollover: of packets around that one a phone
// that missed the first would not know on which side of it they are.
func firstSeq() uint16 { return uint16(rand.Uint32() >> 17) }
