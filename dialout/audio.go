package dialout

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sipxrest/media"
	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talkroom"
)

// Audio has phones be in Talk's conversations themselves.
type Audio struct {
	Rooms *talkroom.Rooms
	Ports *media.Ports
	// Security says whether the phones' audio is encrypted.
	Security media.Security
	// Clip returns what the phones are told, see talkroom.PhoneOptions. nil: they are
	// told nothing.
	Clip func(name string) []int16
}

const (
	// provenTime is how long it may take until RTP goes both ways.
	provenTime = 5 * time.Second
)

// sound is the audio of a phone that is in the conversation itself. Its methods may
// be called from any goroutine; they do nothing without it.
type sound struct {
	cfg     *Audio
	log     *slog.Logger
	session *media.Session
	room    *talkroom.Room
	silent  bool       // Nextcloud does not let it speak
	flags   talk.Flags // that it begins with: another node had it

	mu     sync.Mutex // after call.mu, before talkroom's
	phone  *talkroom.Phone
	proven *time.Timer
	over   bool
}

// enter has the phone be in the conversation itself, once it has answered, or says
// why it cannot. It is done before the request is accepted: so Talk's user is told.
func (s *Service) enter(r *talk.Request, c *call, o *placement, who talk.Participant) *refusal {
	if s.cfg.Audio == nil {
		return nil
	}
	if err := r.Session.Audio(); err != nil {
		return refuse(internalError, "Telephones cannot be heard: "+err.Error()+".")
	}
	ctx, cancel := s.within(r.Context())
	sealed, err := r.Session.Backend().Encrypted(ctx)
	cancel()
	switch {
	case sealed:
		return refuse(notAllowed, talk.ErrEncrypted.Error()+".")
	case err != nil: // it has just verified the number, so it is there
		c.log.Warn("whether Talk encrypts calls end to end is not known: it is taken not to", "error", err)
	}
	switch err := c.openSound(!who.MayPublish()); {
	case errors.Is(err, talkroom.ErrStopped):
		return refuse(stopping, "")
	case errors.Is(err, talkroom.ErrRooms):
		return refuse(tooMany, "Telephones are in too many conversations at once. Try again later.")
	case err != nil:
		c.log.Warn("the phone is not called", "error", err)
		return refuse(tooMany, "")
	}
	o.talks = c.talk.sound.conversation()
	return nil
}

// openSound gives the phone a port, and has this node be in its conversation.
func (c *call) openSound(silent bool) error {
	s := c.s
	d := &sound{cfg: s.cfg.Audio, log: c.log, silent: silent}
	var err error
	if d.session, err = d.cfg.Ports.Open(media.Options{Stepped: true, Security: d.cfg.Security, NoMedia: func() { c.hangUp(errSilent) }}); err != nil {
		return err
	}
	d.room, err = d.cfg.Rooms.Enter(c.talk.session, c.talk.roomID, func(e talkroom.Event) {
		if e == talkroom.MediaFailed { // the others come to talk.Handler.Room
			d.unavailable(func() { c.hangUp(errUnheard) })
		}
	})
	if err != nil {
		d.session.Close()
		return err
	}
	c.talk.sound, c.talk.room = d, d.room
	return nil
}

// part leaves the conversation of a call that is not made.
func (t *conversation) part() {
	t.sound.end()
	if t.room != nil {
		t.room.Leave()
		t.room = nil
	}
}

// conversation is the phone's side for the switchboard.
func (d *sound) conversation() *sipflow.Conversation {
	return &sipflow.Conversation{
		Offer: d.session.Offer,
		Answered: func(answer []byte, early bool) error {
			if early { // nobody hears it before the call is answered
				return nil
			}
			err := d.session.Accept(answer)
			d.held()
			return unfit(err)
		},
		Reoffer: func(offer []byte) ([]byte, error) {
			answer, err := d.session.Answer(offer)
			d.held()
			return answer, unfit(err)
		},
	}
}

// unfit is a refusal of a description as SIP says it.
func unfit(err error) error {
	var refused *media.Refusal
	if errors.As(err, &refused) {
		return &sipflow.StatusError{Method: "INVITE", Code: refused.Code, Reason: refused.Reason}
	}
	return err
}

// held shows whether the phone holds the call.
func (d *sound) held() {
	send, receive := d.session.Directions()
	d.with(func(p *talkroom.Phone) { p.Held(!send || !receive) })
}

// with does something with the phone while it is in the conversation.
func (d *sound) with(f func(*talkroom.Phone)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.phone != nil && !d.over {
		f(d.phone)
	}
}

// join has the phone take part: it has answered.
func (d *sound) join(callID string) {
	if d == nil {
		return
	}
	d.mu.Lock()
	if d.over {
		d.mu.Unlock()
		return
	}
	d.phone = d.room.AddPhone(callID, d.session, talkroom.PhoneOptions{MayNotSpeak: d.silent, Flags: d.flags, Clip: d.cfg.Clip})
	d.proven = time.AfterFunc(provenTime, d.prove)
	d.mu.Unlock()
	d.held()
}

// prove sees whether RTP goes both ways. One-way audio is what is reported most of
// all bridges, and nobody at either end can say why.
func (d *sound) prove() {
	send, receive := d.session.Directions()
	s := d.session.Stats()
	switch {
	case receive && s.Received == 0:
		d.log.Warn("no RTP has come from the phone: it cannot be heard. Do its packets get to the port?", "port", d.session.Port(), "for", provenTime, "foreign", s.Foreign)
	case send && s.Sent == 0:
		d.log.Warn("no RTP was sent to the phone: it hears nothing", "port", d.session.Port(), "for", provenTime, "errors", s.SendErrors)
	default:
		d.log.Debug("RTP goes both ways", "codec", d.session.Codec(), "received", s.Received, "sent", s.Sent)
	}
}

// shown tells the conversation that the phone session was added.
func (d *sound) shown() { d.with((*talkroom.Phone).Shown) }

// dtmf is line.dtmf: the digit goes by RFC 4733.
func (d *sound) dtmf(_ context.Context, digit byte) error {
	return d.session.SendDigit(digit, media.DigitTime)
}

// mute is line.mute: it is done in the mixer, and the conversation shows it.
func (d *sound) mute(_ context.Context, f talk.Flags) error {
	d.with(func(p *talkroom.Phone) { p.Mute(f) })
	return nil
}

// unavailable tells the phone that it is not heard, and then has it hung up.
func (d *sound) unavailable(hangUp func()) {
	var clip []int16
	if d.cfg.Clip != nil {
		clip = d.cfg.Clip("unavailable")
	}
	d.with(func(p *talkroom.Phone) { p.Play(clip) })
	const rate = 16000
	time.AfterFunc(min(time.Duration(len(clip))*time.Second/rate, 10*time.Second), hangUp)
}

// end takes the phone out of the conversation and ends its audio.
func (d *sound) end() {
	if d == nil {
		return
	}
	d.mu.Lock()
	over, phone := d.over, d.phone
	d.over = true
	if d.proven != nil {
		d.proven.Stop()
	}
	d.mu.Unlock()
	if over {
		return
	}
	if phone != nil {
		phone.Remove()
	}
	d.session.Close()
}
