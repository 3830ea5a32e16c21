package talkroom

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"sipxrest/media/mix"
	"sipxrest/media/sfu"
	"sipxrest/talk"
)

const (
	// answerTime is how long the signaling server and the media server may take
	// for an answer and a connection.
	answerTime = 12 * time.Second
	// settleTime is how long the server gets to forget a publisher after incall 0.
	settleTime = 200 * time.Millisecond
	// steadyTime is how long a connection lasts that is no failed attempt.
	steadyTime = 10 * time.Second
	// quietTime is how long nobody is heard before the phones are told why.
	quietTime = 3 * time.Second
	// failTime is how long the phones may not be heard before they are given up.
	failTime = time.Minute
)

// What internal sessions are in a call: with audio, or not at all. There is no
// step between the two: mobile clients ask for a session's audio once, when it
// comes into the call, and only if it has audio then.
const (
	outOfCall = 0
	withAudio = 3
)

// publication is the phones' audio on its way into the conversation. It belongs to
// the conversation's goroutine.
type publication struct {
	state    pubState
	n        int // counts attempts: what is told of an earlier one is left out
	sid      string
	lastSID  int64
	conn     publisher
	offerID  string
	timer    *time.Timer
	tries    int
	hopeless bool // the server cannot do what is asked of it

	session string // that has made an offer, which incall 0 has not taken back
	said    bool   // incall 3 was said of this connection
	upAt    time.Time
	since   time.Time // when that began that the phones are not heard
	wasUp   bool      // they have been heard before
	told    bool      // MediaFailed
	quiet   bool      // they were told
	stats   sfu.PublisherStats
}

type pubState int

const (
	pubIdle       pubState = iota
	pubAway                // no connection to the signaling server
	pubOffering            // the offer is made
	pubOffered             // it was sent
	pubConnecting          // it was answered
	pubUp
	pubWaiting // for another attempt
)

// wanted is told of each phone that comes, with the mixer that it is in. With the
// first one the conversation is heard, and hears.
func (c *conversation) wanted(m *mix.Mixer) {
	if c.active == m && !c.over {
		return
	}
	c.unwanted()
	c.active = m
	p := &c.pub
	p.since, p.tries, p.wasUp, p.told, p.quiet, p.hopeless = time.Now(), 0, false, false, false, false
	c.start()
	c.listen()
}

// unwanted is told that the last phone has gone.
func (c *conversation) unwanted() {
	c.over = false
	if c.active == nil {
		return
	}
	c.unlisten()
	c.drop()
	c.takeBack()
	c.pub.state = pubIdle
	c.active = nil
}

// start makes an offer:
//
//	sipxrest                       signaling server, media server
//	    | incall 0 (if one was offered) |
//	    |------------------------------>|
//	    | offer, with a new sid         |
//	    |------------------------------>|
//	    |                        answer |
//	    |<------------------------------|
//	    |<======= ICE, DTLS ===========>|
//	    | incall 3                      |
//	    |------------------------------>|
func (c *conversation) start() {
	p := &c.pub
	if c.active == nil || c.over || p.hopeless {
		return
	}
	if p.session != "" {
		// Without incall 0 nobody finds the new publisher, and the server keeps the
		// old one's sid.
		same := p.session == c.signal.SessionID()
		if !c.takeBack() {
			p.state = pubAway
			return
		}
		if same {
			c.retry(settleTime)
			return
		}
	}
	p.n++
	n := p.n
	p.state, p.sid, p.offerID, p.said = pubOffering, c.newSID(), "", false
	codec := c.rooms.cfg.Codec
	c.aside.Go(func() {
		conn, offer, err := c.rooms.connects.publish(codec, sfu.Events{
			Connected: func(took time.Duration) { c.post(func() { c.publishes(n, took) }) },
			Failed:    func(err error) { c.post(func() { c.publishFailed(n, err) }) },
		})
		c.post(func() { c.offer(n, conn, offer, err) })
	})
}

// newSID names a connection. It counts, so that none comes twice.
func (c *conversation) newSID() string {
	p := &c.pub
	p.lastSID = max(p.lastSID+1, time.Now().UnixMilli())
	return strconv.FormatInt(p.lastSID, 10)
}

// offer sends the offer, once it is made.
func (c *conversation) offer(n int, conn publisher, offer string, err error) {
	p := &c.pub
	if n != p.n || p.state != pubOffering {
		if conn != nil {
			conn.Close()
		}
		return
	}
	if err != nil {
		c.failed(err)
		return
	}
	p.conn = conn
	session := c.signal.SessionID()
	p.offerID, err = c.signal.Offer(p.sid, offer, strings.ToLower(c.rooms.cfg.Codec.String()))
	switch {
	case errors.Is(err, talk.ErrAway):
		c.drop()
		p.state = pubAway // Entered or Returned tells when it is there
		return
	case err != nil:
		c.failed(err)
		return
	}
	p.session, p.state = session, pubOffered
	p.timer = c.after(answerTime, func() {
		if n == p.n && (p.state == pubOffered || p.state == pubConnecting) {
			c.failed(errNoAnswer)
		}
	})
}

var errNoAnswer = errors.New("no answer to the offer, or no connection, in time")

// answered takes the answer.
func (c *conversation) answered(m talk.MediaMessage) {
	p := &c.pub
	if p.state != pubOffered || m.SID != p.sid {
		return // of an earlier offer
	}
	p.state = pubConnecting
	err := p.conn.Answer(m.SDP)
	if errors.Is(err, sfu.ErrCodec) {
		// Not in vain only: each attempt is one more publisher that nobody hears.
		p.hopeless = true
		c.log.Error("phones cannot be heard in Talk: the signaling server's media server does not take the codec; it has to be 2.0.2 or newer, with Janus",
			"codec", strings.ToLower(c.rooms.cfg.Codec.String()))
	}
	if err != nil {
		c.failed(err)
	}
}

// published takes a candidate of the media server.
func (c *conversation) published(m talk.MediaMessage) {
	p := &c.pub
	if p.conn == nil || m.SID != p.sid {
		return
	}
	if err := p.conn.Candidate(candidate(m.Candidate)); err != nil {
		c.log.Debug("a candidate of the media server is not used", "error", err)
	}
}

// refused takes an error, and reports whether it is of our offer.
func (c *conversation) refused(m talk.MediaMessage) bool {
	p := &c.pub
	if m.ID == "" || m.ID != p.offerID || p.conn == nil {
		return false
	}
	var err error = errNoAnswer
	if m.Err != nil {
		err = m.Err
	}
	if p.state == pubOffered || p.state == pubConnecting {
		c.failed(err)
	}
	return true
}

// publishes is told that the connection is there.
func (c *conversation) publishes(n int, took time.Duration) {
	p := &c.pub
	if n != p.n || p.state != pubConnecting {
		return
	}
	p.timer.Stop()
	c.rooms.count.published(took)
	c.log.Info("phones are heard in the conversation", "after", took.Round(time.Millisecond), "attempts", p.tries+1)
	p.state, p.upAt, p.wasUp, p.told, p.quiet = pubUp, time.Now(), true, false, false
	c.out.Store(&outlet{p.conn})
	c.sayInCall()
}

// sayInCall has everybody ask for the phones' audio.
func (c *conversation) sayInCall() {
	if p := &c.pub; p.state == pubUp && !p.said {
		p.said = c.signal.InCall(withAudio) == nil // else Returned says it, or Entered begins anew
	}
}

// publishFailed is told that there is no connection, or none any more.
func (c *conversation) publishFailed(n int, err error) {
	p := &c.pub
	if n != p.n || p.state != pubConnecting && p.state != pubUp && p.state != pubOffered {
		return
	}
	c.failed(err)
}

// failed ends an attempt, or a connection that was there, and begins another one
// after a pause.
func (c *conversation) failed(err error) {
	p := &c.pub
	up := p.state == pubUp
	if up {
		p.since = time.Now()
		c.rooms.count.reconnects.Add(1)
		c.log.Info("phones are not heard in the conversation: the connection is made anew", "error", err)
	} else {
		c.log.Warn("phones are not heard in the conversation", "error", err, "attempts", p.tries+1)
		c.rooms.count.attempts.Add(1)
	}
	if up && time.Since(p.upAt) >= steadyTime {
		p.tries = 0
	}
	c.drop()
	c.takeBack()
	if p.hopeless {
		p.state = pubIdle
		return
	}
	c.retry(pause(publishPauses[:], p.tries))
	p.tries++
}

var publishPauses = [...]time.Duration{settleTime, time.Second, 2 * time.Second, 3 * time.Second}

// pause is the n-th of list, the last one being repeated, more or less: not all
// who wait for one server ask at once.
func pause(list []time.Duration, n int) time.Duration {
	d := list[min(n, len(list)-1)]
	return d - d/5 + rand.N(2*d/5+1)
}

// retry makes another attempt in a while.
func (c *conversation) retry(d time.Duration) {
	p := &c.pub
	p.n++
	n := p.n
	p.state = pubWaiting
	p.timer = c.after(d, func() {
		if n == p.n && p.state == pubWaiting {
			c.start()
		}
	})
}

// drop closes the connection.
func (c *conversation) drop() {
	p := &c.pub
	p.n++
	c.out.Store(nil)
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.conn != nil {
		c.measurePublisher()
		p.stats = sfu.PublisherStats{}
		p.conn.Close()
		p.conn = nil
	}
	p.offerID = ""
}

// takeBack says that nothing is published any more, if something was offered. It
// reports whether the server knows, or does not need to.
func (c *conversation) takeBack() bool {
	p := &c.pub
	if p.session == "" {
		return true
	}
	if p.session != c.signal.SessionID() { // gone with all that it had
		p.session = ""
		return true
	}
	if c.signal.InCall(outOfCall) != nil {
		return false
	}
	p.session = ""
	return true
}

// anew begins from the start: we are in the room by a session that has no
// connections.
func (c *conversation) anew() {
	c.unlisten()
	if c.active == nil {
		return
	}
	c.drop()
	c.pub.since, c.pub.tries = time.Now(), 0
	c.start()
	c.listen()
}

// goOn sends what could not be sent while the connection was lost. The media went
// on.
func (c *conversation) goOn() {
	if c.pub.state == pubAway {
		c.pub.since = time.Now()
		c.start()
	}
	c.sayInCall()
	c.listen()
}

// lookAtPublication tells the phones that they are not heard: those on the way
// first, and after a minute their owners.
func (c *conversation) lookAtPublication(now time.Time, list []*Phone) {
	p := &c.pub
	if p.state == pubUp || p.state == pubAway { // without signaling nobody knows better
		return
	}
	if !p.quiet && p.wasUp && now.Sub(p.since) >= quietTime {
		p.quiet = true
		for _, phone := range list {
			phone.prompt("reconnecting")
		}
	}
	if !p.told && now.Sub(p.since) >= failTime {
		p.told = true
		c.rooms.count.failed.Add(1)
		c.log.Warn("phones could not be heard for too long", "for", failTime)
		c.tell(MediaFailed)
	}
}
