package sfu

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"sipxrest/media"
)

// Config is for one [SFU]: the service has one.
type Config struct {
	// Address is what the UDP socket of all connections is bound to, and what
	// the media server is told.
	Address netip.Addr
	// Port of that socket. 0: any that is free.
	Port uint16
	// External is told in place of Address, behind a NAT. Zero: Address.
	External netip.Addr
	// Servers are asked for further candidates. Empty, as it should be where
	// the media server can be reached: nothing has to be waited for.
	Servers []ICEServer
	// Loopback admits loopback addresses as Address, for tests.
	Loopback bool
	// Log gets what the connections do, most of it at Debug. Nil: nothing.
	Log *slog.Logger
}

// ICEServer is a STUN or TURN server.
type ICEServer struct {
	URLs []string // stun:, turn:, turns:
	// Username and Credential are for TURN, or Secret, coturn's
	// static-auth-secret, of which both are made for each connection.
	Username, Credential, Secret string
}

// SFU is our side of all connections with media servers.
type SFU struct{}

// Errors that [Events.Failed] and [Publisher.Answer] tell.
var (
	// ErrClosed: the peer has ended the connection, as a media server does that
	// is stopped.
	ErrClosed = errors.New("the media server has closed the connection")
	// ErrLost: nothing has come for 10 s, as from a media server that was killed.
	ErrLost = errors.New("the connection to the media server is lost")
	// ErrTimeout: there was no connection within 12 s of the offer.
	ErrTimeout = errors.New("no connection to the media server in time")
	// ErrCodec: the answer does not take the codec that was offered.
	ErrCodec = errors.New("the media server does not take the codec")
)

// Events of one connection. They are called from goroutines of their own, each
// at most once, must return at once, and are not called after Close.
type Events struct {
	// Connected is told how long after the offer that was.
	Connected func(took time.Duration)
	// Failed is told why the connection is none any more: ErrClosed, ErrLost or
	// ErrTimeout. All that is left to do is Close.
	Failed func(err error)
}

// Candidate is one of ICE (RFC 8839), in the form that browsers give it.
type Candidate struct {
	SDPMid        string `json:"sdpMid"`
	SDPMLineIndex uint16 `json:"sdpMLineIndex"`
	Candidate     string `json:"candidate"`
}

// New opens the socket. An error names the key of Config that is wrong.
func New(cfg Config) (*SFU, error) { return &SFU{}, nil }

// Close closes all connections and returns once all goroutines have ended.
func (s *SFU) Close() error { return nil }

// Port returns the port of the socket.
func (s *SFU) Port() uint16 { return 0 }

// Publish makes a connection that sends audio in one codec, and its offer, which
// has all candidates. With Servers this may take a second.
func (s *SFU) Publish(codec media.Codec, events Events) (*Publisher, string, error) {
	return &Publisher{}, "", nil
}

// Subscribe makes a connection that hears whoever sent the offer, and returns
// its answer, which has all candidates. With Servers this may take a second.
func (s *SFU) Subscribe(offer string, events Events) (*Subscription, string, error) {
	return &Subscription{}, "", nil
}

// Publisher is a connection that sends audio.
type Publisher struct{}

// Answer takes the answer to the offer. It returns ErrCodec if audio would not
// get through: there is no sense in trying again then.
func (p *Publisher) Answer(sdp string) error { return nil }

// Candidate takes a candidate of the peer. It may come before the answer.
func (p *Publisher) Candidate(c Candidate) error { return nil }

// Write sends a frame of 20 ms. Until the connection is there it is lost.
func (p *Publisher) Write(pcm *[320]int16) {}

// Close ends the connection. It returns at once; [SFU.Close] waits for the end.
func (p *Publisher) Close() {}

// PublisherStats counts what was sent, since the publisher was made.
type PublisherStats struct {
	Sent uint64 // packets
	Lost uint64 // of those, on their way to the media server, as it says
}

// Stats may be called at any time.
func (p *Publisher) Stats() PublisherStats { return PublisherStats{} }

// Subscription is a connection that hears somebody. It is a mix.Source.
type Subscription struct{}

// Candidate takes a candidate of the peer.
func (s *Subscription) Candidate(c Candidate) error { return nil }

// Pull decodes the next 20 ms. It reports whether out is sound; else it is
// silence.
func (s *Subscription) Pull(now time.Time, out *[320]int16) bool { clear(out[:]); return false }

// Skip lets 20 ms pass by that nobody hears.
func (s *Subscription) Skip(now time.Time) {}

// Level returns how loud it was lately, in -dBov.
func (s *Subscription) Level() int { return 127 }

// Close ends the connection. It returns at once; [SFU.Close] waits for the end.
func (s *Subscription) Close() {}

// SubscriptionStats are those of what was heard.
type SubscriptionStats struct {
	media.PlayerStats
	First time.Time // the first packet came; zero: none did
	Last  time.Time // the last one
}

// Stats may be called at any time.
func (s *Subscription) Stats() SubscriptionStats { return SubscriptionStats{} }
