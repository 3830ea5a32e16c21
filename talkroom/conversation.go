package talkroom

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/internal/boundary"
	"sipxrest/media"
	"sipxrest/media/mix"
	"sipxrest/talk"
)

const (
	// lookTime is how often the conversation looks at what nobody tells: whether
	// somebody speaks, and what has lasted for too long.
	lookTime = 250 * time.Millisecond
	// aloneTime is how long a phone is alone before it hears so: the list of
	// participants may just be on its way.
	aloneTime = 2 * time.Second
)

// conversation is one that has phones, or waits for them. Its goroutine is run.
type conversation struct {
	rooms *Rooms
	key
	log     *slog.Logger
	signal  signaling
	inbox   inbox
	done    chan struct{}  // closed when run has returned
	aside   sync.WaitGroup // goroutines that run has started
	out     atomic.Pointer[outlet]
	others  atomic.Int32            // talk.Room.Others, and whether it is known
	members map[*Room]bool          // guarded by Rooms.mu
	states  [numStates]atomic.Int32 // sources by state, for metrics

	mu     sync.Mutex // before Phone.mu
	list   []*Phone
	mixer  *mix.Mixer // nil without phones
	stop   context.CancelFunc
	closed bool

	// Owned by run.
	left      bool       // by all
	over      bool       // the call was ended for everyone, and no phone has come since
	active    *mix.Mixer // for which there are connections; nil: none are wanted
	pub       publication
	hearings  map[string]*hearing // by session
	turn      []*hearing          // whose offers wait to be answered
	answering int                 // offers that are being answered
	crowded   bool                // that there are too many was logged
	lonelyAt  time.Time           // since when one phone is alone
	measured  time.Time
}

// outlet is where the mix goes.
type outlet struct{ publisher }

func newConversation(rs *Rooms, k key, signal signaling) *conversation {
	c := &conversation{rooms: rs, key: k, signal: signal, log: rs.log.With("conversation", rs.number.Add(1)), inbox: inbox{wake: make(chan struct{}, 1)},
		done: make(chan struct{}), members: map[*Room]bool{}, hearings: map[string]*hearing{}}
	c.others.Store(-1)
	return c
}

// run does one after another what is to be done, until the conversation is left.
func (c *conversation) run() {
	defer close(c.done)
	look := time.NewTicker(lookTime)
	defer look.Stop()
	c.pub.since = time.Now()
	c.count()
	for !c.left {
		if f := c.inbox.take(); f != nil {
			boundary.Try(c.log, "what a conversation was told", f)
			continue
		}
		select {
		case <-c.inbox.wake:
		case <-look.C:
			boundary.Try(c.log, "a look at a conversation", func() { c.look(time.Now()) })
		}
	}
	c.signal.Leave()
	c.aside.Wait()
	for f := c.inbox.take(); f != nil; f = c.inbox.take() { // connections that came too late
		f()
	}
	c.inbox.close()
}

// end is the last thing that is done: everybody has left.
func (c *conversation) end() {
	c.left = true // whatever fails
	c.mu.Lock()
	c.closed = true
	for len(c.list) > 0 {
		c.removeLocked(c.list[0])
	}
	c.mu.Unlock()
	c.unwanted()
}

// post has f be called by the conversation's goroutine.
func (c *conversation) post(f func()) { c.inbox.put(0, f) }

// after has f be called by the conversation's goroutine in a while.
func (c *conversation) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { c.post(f) })
}

// happens is told by the signaling client's reader what happens to the room.
func (c *conversation) happens(kind talk.RoomEventKind) {
	c.inbox.put(kind, func() {
		switch kind {
		case talk.EndedForEveryone:
			c.endedForEveryone()
		case talk.Deleted:
			c.tell(Deleted)
		case talk.Empty:
			c.tell(Empty)
		case talk.Entered:
			c.count()
			c.anew()
		case talk.Returned:
			c.count()
			c.goOn()
		case talk.AudioChanged:
			c.listen()
		case talk.PeopleChanged:
			c.count()
		}
	})
}

// endedForEveryone closes what the media server has closed by now: nothing of it
// is to be made anew. The owners hang up their phones.
func (c *conversation) endedForEveryone() {
	c.tell(EndedForEveryone)
	if c.active == nil {
		return
	}
	c.over = true
	c.unlisten()
	c.drop()
	c.takeBack()
	c.pub.state = pubIdle
}

// hears is told what the room's media server says.
func (c *conversation) hears(m talk.MediaMessage) {
	if !c.inbox.putIfRoom(func() { c.heard(m) }) && c.inbox.firstLoss() {
		c.log.Warn("the signaling server says more than there is time for: some of it is left out", "limit", maxWaiting)
	}
}

// heard sorts what the media server says: our own session is that which publishes.
func (c *conversation) heard(m talk.MediaMessage) {
	own := m.From != "" && m.From == c.signal.SessionID()
	switch m.Kind {
	case talk.MediaAnswer:
		if own {
			c.answered(m)
		}
	case talk.MediaOffer:
		if !own {
			c.offered(m)
		}
	case talk.MediaCandidate:
		if own {
			c.published(m)
		} else {
			c.subscribed(m)
		}
	case talk.MediaError:
		if !c.refused(m) {
			c.unheard(m)
		}
	}
}

// count sees who else is in the call.
func (c *conversation) count() {
	c.others.Store(int32(c.signal.Others()))
	c.tellAllWhether()
}

// inCall reports whether somebody is in the call.
func (c *conversation) inCall() bool { return c.others.Load() > 0 || c.phones() > 0 }

func (c *conversation) tellAllWhether() {
	for _, r := range c.rooms.membersOf(c) {
		c.tellWhether(r)
	}
}

// tellWhether tells one who has entered whether somebody is in the call, if that
// is new to him.
func (c *conversation) tellWhether(r *Room) {
	begun := c.inCall()
	if begun == r.begun || !begun && c.others.Load() < 0 {
		return
	}
	r.begun = begun
	if r.events == nil {
		return
	}
	if begun {
		r.events(Begun)
	} else {
		r.events(Ended)
	}
}

// tell tells everybody who has entered.
func (c *conversation) tell(e Event) {
	for _, r := range c.rooms.membersOf(c) {
		if r.events != nil {
			r.events(e)
		}
	}
}

// look does what time brings about.
func (c *conversation) look(now time.Time) {
	if c.active == nil || c.over {
		return
	}
	c.mu.Lock()
	list := slices.Clone(c.list)
	c.mu.Unlock()
	for _, p := range list {
		p.look(now)
	}
	c.lookWhoIsAlone(now, list)
	c.lookAtPublication(now, list)
	if now.Sub(c.measured) >= time.Second {
		c.measured = now
		c.measure()
	}
}

// lookWhoIsAlone tells a phone that has been alone for a while. Anybody else in
// the call ends that at once.
func (c *conversation) lookWhoIsAlone(now time.Time, list []*Phone) {
	if len(list) != 1 || c.others.Load() != 0 {
		c.lonelyAt = time.Time{}
		for _, p := range list {
			p.lonely(false)
		}
		return
	}
	if c.lonelyAt.IsZero() {
		c.lonelyAt = now
	}
	if now.Sub(c.lonelyAt) >= aloneTime {
		list[0].lonely(true)
	}
}

func (c *conversation) phones() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.list)
}

// add has a phone take part. With the first one everything begins.
func (c *conversation) add(p *Phone) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if c.mixer == nil {
		m := mix.New(mix.Config{Speakers: c.rooms.load.speakers(), Out: c.publish, Late: c.late, Log: c.log})
		ctx, cancel := context.WithCancel(context.Background())
		c.aside.Go(func() { m.Run(ctx) })
		c.mixer, c.stop = m, cancel
	}
	m := c.mixer
	c.post(func() { c.wanted(m) })
	c.beep(joins)
	c.list = append(c.list, p)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = c.mixer.AddPhone(&p.port)
	p.apply()
	c.post(c.tellAllWhether)
}

// remove takes a phone out. With the last one everything ends.
func (c *conversation) remove(p *Phone) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(p)
}

// removeLocked is remove. The caller holds c.mu.
func (c *conversation) removeLocked(p *Phone) {
	i := slices.Index(c.list, p)
	if i < 0 {
		return
	}
	c.list = slices.Delete(c.list, i, i+1)
	p.mu.Lock()
	p.line.Remove()
	p.line = nil
	p.mu.Unlock()
	p.port.take()
	c.beep(leaves)
	c.post(c.tellAllWhether)
	if len(c.list) > 0 {
		return
	}
	c.stop()
	c.mixer, c.stop = nil, nil
	c.post(c.unwanted)
}

// removeAll takes out the phones that r has added.
func (c *conversation) removeAll(r *Room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range slices.Clone(c.list) {
		if p.room == r {
			c.removeLocked(p)
		}
	}
}

// publish is where the mixer's clock leaves what the phones say.
func (c *conversation) publish(pcm *[320]int16) {
	if o := c.out.Load(); o != nil {
		o.Write(pcm)
	}
}

// late is told by the mixer's clock how late it is.
func (c *conversation) late(d time.Duration) { c.rooms.load.late(d, time.Now()) }

// setSpeakers bounds how many participants are decoded at a time.
func (c *conversation) setSpeakers(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mixer != nil {
		c.mixer.SetSpeakers(n)
	}
}

// Beeps of phones that join and leave: two short tones.
var (
	joins  = slices.Concat(beepTone(660), beepTone(880))
	leaves = slices.Concat(beepTone(880), beepTone(660))
)

func beepTone(hz float64) []int16 { return media.Tone(hz, 120*time.Millisecond, -25) }

// beep has everybody hear that a phone joins or leaves. The caller holds c.mu.
func (c *conversation) beep(pcm []int16) {
	if c.mixer != nil && c.rooms.cfg.Beep != BeepNone {
		c.mixer.Beep(pcm, c.rooms.cfg.Beep == BeepAll)
	}
}
