package dialin

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"sipxrest/internal/boundary"

	"sipxrest/media/attendant"
	"sipxrest/media/prompts"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

const (
	// sayTime bounds the prompts at the end of a call.
	sayTime = 20 * time.Second
	// maxControls is how much of what moderators want may wait.
	maxControls = 64
	// maxEntry is how many digits an entry has at most: 30 of a conversation, and the
	// two zeros that may be dialled before.
	maxEntry = 32
)

// call is one call. Where nothing else is said its fields are those of the goroutine
// that walks through the states.
type call struct {
	s        *Service
	q        *Call
	cloud    Cloud
	log      *slog.Logger
	id       string // names it to the signaling server; unguessable
	language string
	guess    guess
	ears     Ears
	placed   bool // its place among those who are asked was given back

	up       chan struct{} // closed once the phone's media are agreed on
	upOnce   sync.Once
	keys     chan byte         // that the caller presses, once he is known
	controls chan talk.Control // what moderators want
	changed  chan struct{}     // the conversation's call has begun, or we are to add the phone again; holds one
	seen     chan struct{}     // the phone was added; holds one
	failed   chan error        // it was not; holds one
	ctx      context.Context   // done once the call is to end: states wait with it
	stop     context.CancelFunc

	info    talk.RoomInfo
	who     talk.Caller
	agreed  bool // to the recording
	session Session
	room    Room // nil before it is entered
	release bool // the sound is the conversation's
	joined  bool // has been in the conversation
	forced  bool // muted by a moderator

	mu    sync.Mutex
	end   *ending    // that others have given it
	shown bool       // the phone session was added, and not removed
	as    talk.Phone // the phone session, as it was added last
	phone Phone      // nil while it is not in the conversation
	audio Audio      // of phone
	count func() int // how many phones are in its conversation, of other bridges, too
	alone time.Time  // nobody else is there; zero: somebody is
	empty time.Time  // that was said last
}

// converse answers the caller, and stays in the call.
func (c *call) converse(ctx context.Context, in Incoming) error {
	talking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c.ctx, c.stop = context.WithCancel(talking)
	defer c.stop()
	var walk sync.WaitGroup
	var end *ending
	walk.Go(func() {
		if !boundary.Try(c.log, "a caller into Talk", func() { end = c.run(talking) }) {
			end = &ending{outcome: c.lastOutcome(), why: errFault}
			boundary.Try(c.log, "the end of a caller into Talk", c.leave)
		}
		stop(end.error())
	})
	err := in.Converse(talking, c.conversation())
	stop(cmpErr(err, sipflow.ErrHungUp)) // which ends run, if it has not ended the call
	walk.Wait()
	if end == nil { // the caller hung up, or the service ends
		end = &ending{outcome: c.outcome(err), why: err}
	}
	c.s.counted[end.outcome].Add(1)
	if c.s.parts.Ends != nil {
		c.s.parts.Ends(c.q.ID, end.outcome)
	}
	c.log.Debug("a call into Talk has ended", "outcome", end.outcome.String(), "reason", end.why)
	return err
}

// cmpErr is err, or another one.
func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// outcome is what a call came to that we did not end.
func (c *call) outcome(err error) Outcome {
	var refused *sipflow.StatusError
	switch {
	case c.joined:
		return Joined
	case errors.Is(err, sipflow.ErrDraining):
		return Stopped
	case !c.isUp() && errors.As(err, &refused) && refused.Code == 488:
		return NoMedia
	}
	return Left
}

func (c *call) isUp() bool {
	select {
	case <-c.up:
		return true
	default:
		return false
	}
}

// conversation is the phone's media for sipflow.
func (c *call) conversation() *sipflow.Conversation {
	conv := *c.ears.Conversation()
	answered, reoffer := conv.Answered, conv.Reoffer
	conv.Answered = func(answer []byte, early bool) error {
		err := answered(answer, early)
		if err == nil && !early {
			c.agreedOn()
		}
		return err
	}
	conv.Reoffer = func(offer []byte) ([]byte, error) {
		answer, err := reoffer(offer)
		if err == nil {
			c.agreedOn()
		}
		return answer, err
	}
	return &conv
}

// agreedOn is told that there is another agreement on the phone's media.
func (c *call) agreedOn() {
	c.upOnce.Do(func() { close(c.up) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tellHeld()
}

// tellHeld shows whether the phone holds the call. c.mu is held.
func (c *call) tellHeld() {
	if c.phone != nil {
		send, receive := c.audio.Directions()
		c.phone.Held(!send || !receive)
	}
}

// silent is told that the phone has sent nothing for a minute.
func (c *call) silent() {
	c.finish(&ending{outcome: c.lastOutcome(), why: errSilent})
}

// lastOutcome is that of a call that others end.
func (c *call) lastOutcome() Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phone != nil {
		return Joined
	}
	return Left
}

// finish ends the call from any goroutine, for the first reason that is given.
func (c *call) finish(e *ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end == nil {
		c.end = e
		c.stop()
	}
}

// over is the ending that others have given the call, nil for none.
func (c *call) over() *ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

// run walks through the states of the call, and returns how it ends: nil if ctx did.
func (c *call) run(ctx context.Context) *ending {
	select {
	case <-c.up:
	case <-ctx.Done():
		return nil
	}
	var reader sync.WaitGroup
	end := c.states(c.ctx, func() { reader.Go(func() { c.read(c.ctx) }) })
	c.stop()
	reader.Wait()
	c.leave()
	if ctx.Err() != nil {
		return nil
	}
	if e := c.over(); e != nil {
		end = e
	}
	if len(end.say) > 0 {
		if c.release {
			c.ears.Resume()
		}
		saying, cancel := context.WithTimeout(ctx, sayTime)
		defer cancel()
		_ = c.ears.Play(saying, end.say...) // a key ends it, or a hang-up
	}
	return end
}

// states are those of the call until it ends. read has the caller's keys read.
func (c *call) states(ctx context.Context, read func()) *ending {
	if e := c.ready(ctx); e != nil {
		return e
	}
	if !c.q.Direct {
		if e := c.enter(ctx); e != nil {
			return e
		}
	}
	c.giveUp()
	at := seat{c.cloud.URL(), c.info.Token}
	if !c.s.sit(at) {
		return &ending{Full, []string{prompts.Full}, errFull}
	}
	defer c.s.stand(at)
	read()
	waiting := time.Now()
	for adds := 0; ; {
		if e := c.admit(ctx, waiting); e != nil {
			return e
		}
		if e := c.goIn(); e != nil {
			return e
		}
		if e := c.begun(ctx, waiting); e != nil {
			return e
		}
		e, again := c.join(ctx)
		if !again {
			return e
		}
		if adds++; adds >= maxAdds {
			return &ending{Unavailable, []string{prompts.Unavailable}, errNotAdded}
		}
		if e := c.notAdded(ctx, waiting); e != nil {
			return e
		}
	}
}

// ready says why the caller need not be asked anything.
func (c *call) ready(ctx context.Context) *ending {
	if c.s.barred(c.cloud, c.q) {
		c.s.say(c.log, "a caller is not taken to Talk", "error", errBarred)
		return &ending{Unavailable, []string{prompts.Unavailable}, errBarred}
	}
	encrypted, err := c.cloud.Encrypted(ctx)
	switch {
	case ctx.Err() != nil:
		return &ending{outcome: Left, why: context.Cause(ctx)}
	case err != nil:
		return c.nextcloud(err)
	case encrypted:
		c.s.say(c.log, "a caller is not taken to Talk", "error", errEncrypted)
		return &ending{Encrypted, []string{prompts.Encrypted}, errEncrypted}
	}
	return c.connected()
}

// connected chooses the connection by which the phone will be shown.
func (c *call) connected() *ending {
	sessions, err := c.s.parts.Sessions(c.cloud)
	if err != nil {
		c.s.say(c.log, "a caller is not taken to Talk", "backend", c.cloud.URL(), "error", err)
		return &ending{Unavailable, []string{prompts.Unavailable}, err}
	}
	c.session = sessions[0]
	return nil
}

// nextcloud is the ending for what Nextcloud cannot do now.
func (c *call) nextcloud(err error) *ending {
	err = withoutURL(err)
	switch {
	case errors.Is(err, talk.ErrGuesses):
		c.s.refuses(c.cloud, c.q)
		c.s.say(c.log, "Nextcloud refuses our address: it is not asked for callers of this trunk for a while", "backend", c.cloud.URL(), "trunk", c.q.Trunk, "pause", barTime, "error", err)
	case errors.Is(err, talk.ErrChecksum):
		if c.s.lines.Allow() {
			c.log.Error("callers cannot be taken to Talk", "backend", c.cloud.URL(), "error", err)
		}
	default:
		c.s.say(c.log, "a caller cannot be taken to Talk", "backend", c.cloud.URL(), "error", err)
	}
	return &ending{Unavailable, []string{prompts.Unavailable}, err}
}

// withoutURL is an error without the address that was asked for: it has the number of
// the conversation in it, and for an old Talk the PIN.
func withoutURL(err error) error {
	if asked, ok := errors.AsType[*url.Error](err); ok {
		return asked.Err
	}
	return err
}

// read hands on the caller's keys.
func (c *call) read(ctx context.Context) {
	for {
		key, err := c.ears.Digit(ctx)
		if err != nil {
			return
		}
		select {
		case c.keys <- key:
		case <-ctx.Done():
			return
		}
	}
}

// leave takes the phone out of the conversation.
func (c *call) leave() {
	c.takeOut()
	if c.room != nil {
		c.room.Leave()
		c.room = nil
	}
}

// takeOut removes the phone, and leaves us in the conversation.
func (c *call) takeOut() {
	c.mu.Lock()
	phone, shown := c.phone, c.shown
	c.phone, c.shown = nil, false
	c.mu.Unlock()
	if phone != nil {
		phone.Remove()
	}
	if shown {
		if _, err := c.session.RemoveSession(c.id); err != nil {
			c.log.Warn("the phone cannot be taken out of its conversation", "error", err)
		}
	}
	c.s.mu.Lock()
	delete(c.s.calls, c.id)
	c.s.mu.Unlock()
}

// clip is a prompt in the caller's language.
func (c *call) clip(name string) []int16 { return c.s.parts.Clip(c.language, name) }

// entry is what the caller enters after he was told what.
func (c *call) entry(ctx context.Context, say ...string) (string, error) {
	c.ears.Start(slices.DeleteFunc(say, func(name string) bool { return name == "" })...)
	return c.ears.Entry(ctx, attendant.EntryOptions{Max: maxEntry, Pause: c.s.cfg.Pause, Clear: '*'})
}

// error is why sipflow ends the call. Whoever was in the conversation is hung up as by
// a client: that is no failure.
func (e *ending) error() error {
	switch {
	case e == nil:
		return nil
	case e.outcome == Joined:
		return hungUp{e.why}
	}
	return e.why
}

// hungUp is the end of a call that went well.
type hungUp struct{ why error }

func (h hungUp) Error() string        { return h.why.Error() }
func (h hungUp) Unwrap() error        { return h.why }
func (h hungUp) Is(target error) bool { return target == sipflow.ErrHungUpByUser }
