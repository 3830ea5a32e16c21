package talktest

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"sipxrest/media/opustest"
)

// Sound is what a participant says.
type Sound string

// Tones are of so many Hz, speech and pauses of a voice. All were made by libopus.
const (
	Silent   Sound = ""
	Tone400  Sound = "tone-400"
	Tone600  Sound = "tone-600"
	Tone1000 Sound = "tone-1000"
	Tone1500 Sound = "tone-1500"
	Speech   Sound = "speech"
	Pauses   Sound = "dtx" // with packets left out
)

// hertz is a tone's, 0 of what is none.
func (s Sound) hertz() int {
	return map[Sound]int{Tone400: 400, Tone600: 600, Tone1000: 1000, Tone1500: 1500}[s]
}

// packets are what is published of it, again and again. All tones have whole
// cycles in each packet.
func (s Sound) packets() [][]byte {
	switch {
	case s == Silent:
		return nil
	case s.hertz() > 0:
		return opustest.Packets(string(s))[5:45]
	}
	return opustest.Packets(string(s))
}

// ParticipantOptions are what a participant is like.
type ParticipantOptions struct {
	Sound Sound
	Video bool // has a camera, which sends nothing here
	// Once asks whoever is new in the call with audio, once, as the apps for
	// Android and iOS do. Browsers ask again as long as they hear nothing.
	Once bool
	// Rejoin is how long it takes to come back by a new session once the
	// connection to the media server is over. 0: a second; real ones take 5 to 15.
	Rejoin time.Duration
}

// Participant is a Talk client that publishes and hears, through the lab's MCU. It
// has connections of its own, so it does so through a real Janus as well.
type Participant struct {
	*User
	lab  *Lab
	opts ParticipantOptions

	// Owned by run.
	seen      int // of User.events
	publisher *peerConn
	subs      map[string]*peerConn // by session
	asked     map[string]time.Time // when
	inCallNow map[string]bool      // were in the call with audio lately
	internal  map[string]bool
	renew     bool      // by a new session
	again     time.Time // when to publish

	mu   sync.Mutex
	ears map[string]*ear // by session
	left bool
}

// Talk puts a participant into a conversation and its call. Not in bubbles: its
// connections are real.
func (c *Cloud) Talk(token, name string, o ParticipantOptions) *Participant {
	l := c.lab
	flags := inCall | withAudio
	if o.Video {
		flags |= withVideo
	}
	if o.Rejoin == 0 {
		o.Rejoin = time.Second
	}
	p := &Participant{lab: l, opts: o, ears: map[string]*ear{},
		User: &User{Name: name, Moderator: true, cloud: c, token: token, joins: flags}}
	p.forget()
	l.mu.Lock()
	if hz := o.Sound.hertz(); hz > 0 {
		l.tones = append(l.tones, hz)
	}
	p.enter()
	l.mu.Unlock()
	l.wg.Go(p.run)
	return p
}

// Leave takes the participant out of the call and the conversation.
func (p *Participant) Leave() {
	p.mu.Lock()
	p.left = true
	p.mu.Unlock()
	p.User.Leave()
}

// ID is the public session id, which changes when the participant comes back.
func (p *Participant) ID() string {
	p.lab.mu.Lock()
	defer p.lab.mu.Unlock()
	return p.session.id
}

// run is the client: it does what it is told, and looks every 100 ms after its
// connections.
func (p *Participant) run() {
	defer p.closeAll()
	clock := time.NewTicker(100 * time.Millisecond)
	defer clock.Stop()
	p.again = time.Now()
	for {
		p.lab.mu.Lock()
		events, changed := p.events[p.seen:], p.lab.changed
		p.lab.mu.Unlock()
		for _, e := range events {
			p.seen++
			p.told([]byte(e))
		}
		p.tend()
		select {
		case <-changed:
		case <-clock.C:
		case <-p.lab.closed:
			return
		}
		p.mu.Lock()
		left := p.left
		p.mu.Unlock()
		if left {
			return
		}
	}
}

func (p *Participant) forget() {
	p.subs, p.asked, p.inCallNow, p.internal = map[string]*peerConn{}, map[string]time.Time{}, map[string]bool{}, map[string]bool{}
}

func (p *Participant) closeAll() {
	p.publisher.close()
	p.publisher = nil
	for id := range p.subs {
		p.drop(id)
	}
}

func (p *Participant) drop(id string) {
	p.subs[id].close()
	delete(p.subs, id)
	delete(p.asked, id)
	p.mu.Lock()
	delete(p.ears, id)
	p.mu.Unlock()
}

// tend publishes, and comes back by a new session if a connection is over.
func (p *Participant) tend() {
	for id, s := range p.subs {
		if s.over() {
			p.drop(id) // and is asked for again
		}
	}
	if p.publisher != nil && p.publisher.over() {
		p.closeAll()
		p.renew, p.again = true, time.Now().Add(p.opts.Rejoin)
	}
	if p.publisher == nil && !time.Now().Before(p.again) {
		p.again = time.Now().Add(time.Second)
		if p.renew {
			p.renew = false
			p.forget()
			p.Return()
		}
		if err := p.publish(); err != nil {
			p.lab.t.Errorf("participant %s: %v", p.Name, err)
		}
	}
	p.askAll()
}

// say sends a message as by a connection of its own.
func (p *Participant) say(id, to string, data object) {
	raw, _ := json.Marshal(object{"recipient": object{"type": "session", "sessionid": to}, "data": data})
	m, ok := decodeMessage(raw)
	p.lab.mu.Lock()
	s := p.session
	p.lab.mu.Unlock()
	if ok {
		p.lab.message(s, id, m)
	}
}

// event is what a participant reads of what it is told.
type event struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Event struct {
		Target string   `json:"target"`
		Type   string   `json:"type"`
		Leave  []string `json:"leave"`
		Update struct {
			InCall json.RawMessage `json:"incall"`
			All    bool            `json:"all"`
			Users  []struct {
				SessionID string          `json:"sessionId"`
				InCall    json.RawMessage `json:"inCall"`
				Virtual   bool            `json:"virtual"`
				Internal  bool            `json:"internal"`
			} `json:"users"`
		} `json:"update"`
	} `json:"event"`
	Message struct {
		Sender struct {
			SessionID string `json:"sessionid"`
		} `json:"sender"`
		Data struct {
			Type    string `json:"type"`
			SID     string `json:"sid"`
			Payload struct {
				SDP       string    `json:"sdp"`
				Candidate Candidate `json:"candidate"`
			} `json:"payload"`
		} `json:"data"`
	} `json:"message"`
}

func (p *Participant) told(text []byte) {
	var e event
	if json.Unmarshal(text, &e) != nil {
		return
	}
	switch {
	case e.Type == "error" && e.ID == "publish":
		p.publisher.close() // the media server is not there: again in a second
		p.publisher = nil
		p.again = time.Now().Add(time.Second)
	case e.Type == "error":
		if id, ok := strings.CutPrefix(e.ID, "ask-"); ok && !p.opts.Once {
			p.asked[id] = time.Now()
		}
	case e.Type == "message":
		p.media(&e)
	case e.Type == "event" && e.Event.Target == "room" && e.Event.Type == "leave":
		for _, id := range e.Event.Leave {
			delete(p.inCallNow, id)
			if p.subs[id] != nil {
				p.drop(id)
			}
		}
	case e.Type == "event" && e.Event.Target == "participants" && e.Event.Type == "update":
		p.people(&e)
	}
}

// people looks who is to be heard.
func (p *Participant) people(e *event) {
	u := &e.Event.Update
	if u.All && flagsOf(u.InCall)&inCall == 0 {
		for id := range p.subs {
			p.drop(id)
		}
		clear(p.inCallNow)
		return
	}
	now := map[string]bool{}
	for _, user := range u.Users {
		p.internal[user.SessionID] = user.Internal
		f := flagsOf(user.InCall)
		if user.SessionID == p.ID() || user.Virtual || f&inCall == 0 {
			continue
		}
		if _, known := p.inCallNow[user.SessionID]; f&withAudio == 0 && !(p.opts.Once && known) {
			now[user.SessionID] = false // the apps look at it once
			continue
		}
		now[user.SessionID] = p.inCallNow[user.SessionID] || f&withAudio != 0
		if was, known := p.inCallNow[user.SessionID]; p.opts.Once && known {
			now[user.SessionID] = was
		}
	}
	for id := range p.subs {
		if _, there := now[id]; !there {
			p.drop(id)
		}
	}
	for id := range p.asked {
		if _, there := now[id]; !there {
			delete(p.asked, id)
		}
	}
	p.inCallNow = now
}

// askAll asks for the offers of those who are to be heard and are not.
func (p *Participant) askAll() {
	for id, audio := range p.inCallNow {
		at, asked := p.asked[id]
		if !audio || p.subs[id] != nil || asked && (p.opts.Once || time.Since(at) < 3*time.Second) || p.publisher == nil {
			continue
		}
		p.asked[id] = time.Now().Add(10 * time.Second) // unless an error comes
		p.say("ask-"+id, id, object{"type": "requestoffer", "roomType": "video"})
	}
}

// Hears are the sessions whose sound comes in.
func (p *Participant) Hears() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for id, e := range p.ears {
		if e.fresh() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
