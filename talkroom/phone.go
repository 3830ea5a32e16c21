package talkroom

import (
	"sync"
	"time"

	"sipxrest/media/mix"
	"sipxrest/talk"
)

const (
	muteFlags = talk.MutedSpeaking | talk.MutedListening
	// unknown: the signaling server may show anything.
	unknown talk.Flags = -1
	// flagPause is the least time between two changes of what is shown of a phone.
	flagPause = time.Second
)

// Phone is a telephone in a conversation. Its methods may be called from any
// goroutine and do not wait. After Remove they do nothing.
type Phone struct {
	room   *Room
	callID string
	port   port
	opt    PhoneOptions

	mu       sync.Mutex // after conversation.mu, before talk's
	line     *mix.Line  // nil before and after it takes part
	flags    talk.Flags // what moderators and the phone itself have muted
	held     bool
	hand     bool
	speaking bool
	shown    bool
	sent     talk.Flags // what the signaling server was told last
	sentAt   time.Time
	music    bool // what is played is the music
	alone    bool // the prompt was played
}

// Shown says that the phone session was added, or added again: its flags are
// sent.
func (p *Phone) Shown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown, p.sent, p.sentAt = true, 0, time.Time{}
	p.show(time.Now())
}

// Mute sets which of talk.MutedSpeaking and talk.MutedListening hold. What
// PhoneOptions.MayNotSpeak says stays.
func (p *Phone) Mute(f talk.Flags) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flags = f & muteFlags
	p.apply()
}

// Muted returns those flags, with MutedSpeaking for one who may not speak.
func (p *Phone) Muted() talk.Flags {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.muted()
}

// muted is Muted. The caller holds p.mu, as that of the next ones does.
func (p *Phone) muted() talk.Flags {
	if p.opt.MayNotSpeak {
		return p.flags | talk.MutedSpeaking
	}
	return p.flags
}

// Held says that the phone holds the call, or no more. Meanwhile it is left out,
// what its own music on hold says, too.
func (p *Phone) Held(held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = held
	p.apply()
}

// Raise raises the hand, or lowers it.
func (p *Phone) Raise(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hand = up
	p.apply()
}

// Raised reports whether the hand is raised.
func (p *Phone) Raised() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hand
}

// Play has the phone alone hear something over the call, in place of what was
// played to it before.
func (p *Phone) Play(pcm []int16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.play(pcm)
}

func (p *Phone) play(pcm []int16) {
	if p.line != nil && len(pcm) > 0 {
		p.music = false
		p.line.Play(pcm, false)
	}
}

// Remove takes the phone out of the conversation. When it has returned the audio
// is the caller's again.
func (p *Phone) Remove() { p.room.conversation.remove(p) }

// apply brings mixer and flags up to date.
func (p *Phone) apply() {
	if p.line == nil {
		return
	}
	m := p.muted()
	p.line.Mute(p.held || m&talk.MutedSpeaking != 0, p.held || m&talk.MutedListening != 0)
	p.show(time.Now())
}

// show tells the signaling server what has changed, or leaves that to a later
// look.
func (p *Phone) show(now time.Time) {
	f := p.muted()
	if p.held {
		f |= talk.MutedSpeaking
	}
	if p.hand {
		f |= talk.HandRaised
	}
	if p.speaking && f&talk.MutedSpeaking == 0 {
		f |= talk.Talking
	}
	if p.line == nil || !p.shown || f == p.sent || now.Sub(p.sentAt) < flagPause {
		return
	}
	c := p.room.conversation
	switch err := c.rooms.show(c.session, p.callID, f); err {
	case nil:
		p.sent, p.sentAt = f, now
	case talk.ErrNotAdded:
		p.shown = false // until it is added again
	default:
		c.log.Debug("what is shown of a phone is told later", "error", err)
	}
}

// look sees whether somebody speaks, and sends what had to wait.
func (p *Phone) look(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line == nil {
		return
	}
	p.speaking = p.line.Speaking()
	p.show(now)
}

// lonely has the phone hear that it is alone, and then music; or no more.
func (p *Phone) lonely(alone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.line == nil:
	case !alone && p.music:
		p.music = false
		p.line.Stop()
	case !alone || p.music:
	case !p.alone:
		p.alone = true
		p.play(p.clip("alone"))
	case len(p.opt.Music) > 0 && !p.line.Playing():
		p.music = true
		p.line.Play(p.opt.Music, true)
	}
}

// prompt plays a prompt that the phone's language has.
func (p *Phone) prompt(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.play(p.clip(name))
}

func (p *Phone) clip(name string) []int16 {
	if p.opt.Clip == nil {
		return nil
	}
	return p.opt.Clip(name)
}
