package talkroom

import (
	"sync"
	"time"

	"sipxrest/media"
	"sipxrest/media/mix"
	"sipxrest/media/sfu"
	"sipxrest/talk"
)

// signaling is what a conversation says by its signaling server: *talk.Room.
// Tests have one that does as they want.
type signaling interface {
	SessionID() string
	Offer(sid, sdp, codec string) (id string, err error)
	Answer(session, sid, sdp string) error
	Ask(session string) (id string, err error)
	InCall(flags int) error
	Audible() []string
	Others() int
	Foreign() int
	Inside() bool
	Leave()
}

// connector makes connections with a media server: *sfu.SFU. Its functions may
// take a second.
type connector interface {
	publish(media.Codec, sfu.Events) (publisher, string, error)
	subscribe(offer string, events sfu.Events) (subscription, string, error)
}

// publisher is *sfu.Publisher.
type publisher interface {
	Answer(sdp string) error
	Candidate(sfu.Candidate) error
	Write(*[320]int16)
	Stats() sfu.PublisherStats
	Close()
}

// subscription is *sfu.Subscription.
type subscription interface {
	mix.Source
	Candidate(sfu.Candidate) error
	Stats() sfu.SubscriptionStats
	Close()
}

// servers is the connector of real ones.
type servers struct{ *sfu.SFU }

func (s servers) publish(codec media.Codec, events sfu.Events) (publisher, string, error) {
	p, offer, err := s.Publish(codec, events)
	if err != nil {
		return nil, "", err // not a publisher that holds a nil
	}
	return p, offer, nil
}

func (s servers) subscribe(offer string, events sfu.Events) (subscription, string, error) {
	sub, answer, err := s.Subscribe(offer, events)
	if err != nil {
		return nil, "", err
	}
	return sub, answer, nil
}

// candidate is c for the connection.
func candidate(c talk.Candidate) sfu.Candidate { return sfu.Candidate(c) }

// port is a phone's audio between a mixer's clock and its owner: once it is
// taken away the clock uses the audio no more.
type port struct {
	mu    sync.Mutex
	audio mix.Phone
}

// Pull implements mix.Phone.
func (p *port) Pull(now time.Time, out *[320]int16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.audio == nil {
		clear(out[:])
		return false
	}
	return p.audio.Pull(now, out)
}

// Push implements mix.Phone.
func (p *port) Push(now time.Time, in *[320]int16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.audio != nil {
		p.audio.Push(now, in)
	}
}

// take ends its use.
func (p *port) take() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.audio = nil
}
