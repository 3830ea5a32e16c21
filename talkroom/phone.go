package talkroom

import (
	"time"

	"sipxrest/talk"
)

// Audio is a phone's sound: a *media.Session that is Stepped.
type Audio interface {
	Pull(now time.Time, out *[320]int16) (heard bool)
	Push(now time.Time, in *[320]int16)
}

// PhoneOptions are how a phone takes part.
type PhoneOptions struct {
	// MayNotSpeak: Nextcloud has not given the permission to publish audio. The
	// phone is muted for ever, and shown so.
	MayNotSpeak bool
	// Flags are those that it begins with: talk.MutedSpeaking and MutedListening.
	Flags talk.Flags
	// Clip returns a prompt in the phone's language, as 16 kHz mono: alone,
	// reconnecting, muted-by-moderator. nil for one that there is none of. Clip may
	// be nil.
	Clip func(name string) []int16
	// Music is played again and again while the phone is alone. Without it there
	// is silence.
	Music []int16
}

// Phone is a telephone in a conversation. Its methods may be called from any
// goroutine, do not wait, and do nothing after Remove.
type Phone struct {
	room   *Room
	callID string
	audio  Audio
	opt    PhoneOptions
}

// AddPhone has a phone take part from now on: it hears the others and is heard.
// callID is that of talk.Session.AddSession, which its owner calls, too, and says
// so by Phone.Shown. The audio is the mixer's until Phone.Remove has returned.
func (r *Room) AddPhone(callID string, audio Audio, o PhoneOptions) *Phone {
	p := &Phone{room: r, callID: callID, audio: audio, opt: o}
	r.conversation.add(p)
	return p
}

// Shown says that the phone session was added, or added again: its flags are
// sent.
func (p *Phone) Shown() {}

// Mute sets what of talk.MutedSpeaking and talk.MutedListening holds. What
// PhoneOptions.MayNotSpeak says stays.
func (p *Phone) Mute(talk.Flags) {}

// Muted are the flags of that kind.
func (p *Phone) Muted() talk.Flags { return p.opt.Flags }

// Held says that the phone holds the call, or no more: it is shown as muted
// then.
func (p *Phone) Held(bool) {}

// Raise raises the hand or lowers it, and Raised reports whether it is raised.
func (p *Phone) Raise(bool)   {}
func (p *Phone) Raised() bool { return false }

// Play has the phone alone hear a prompt over the call, in place of one that it
// hears.
func (p *Phone) Play([]int16) {}

// Remove takes the phone out of the conversation. When it has returned the audio
// is the caller's again.
func (p *Phone) Remove() { p.room.conversation.remove(p) }
