package talk

import "time"

// vigil is how long nobody has taken part in a room's call, as far as that is
// known. Its fields are guarded by Room.mu.
type vigil struct {
	alone   *time.Timer // until what comes after a time without anybody
	looking bool        // it has come once: we see once more who is there
	// peopled: somebody took part when that was known last.
	peopled bool
	// until is when those who leave have not lost the signaling server with us any
	// more.
	until time.Time
	// returning: an outage has, or may have, thrown out who was in the call, and
	// nobody has come back. since is when they could begin to, zero while there is no connection.
	returning bool
	since     time.Time
	asking    bool // Nextcloud whether it is there
}

// missing notes that people have to come back. The caller holds r.mu.
func (r *Room) missing() { r.vigil.returning, r.vigil.since = true, time.Time{} }

// shaken notes that the connection was lost. Theirs may have been, too: it shows
// only when their sessions end. The caller holds r.mu.
func (r *Room) shaken() { r.vigil.until = time.Now().Add(shakenTime) }

// judge sees whether anybody takes part in the call. Without anybody the list of
// participants is asked for once more after a while, and then it counts. The
// caller holds r.mu.
func (r *Room) judge() {
	v := &r.vigil
	switch n := r.inCall(); {
	case n > 0:
		r.wait(0)
		v.looking, v.returning, v.peopled = false, false, true
	case n < 0 && (r.away || !v.looking):
		r.wait(0)
		v.looking = false
		if r.away {
			v.since = time.Time{}
		}
	case n == 0 && v.alone == nil && !v.asking:
		if v.peopled && time.Now().Before(v.until) {
			r.missing()
		}
		v.peopled = false
		if v.returning {
			r.waitForReturn()
		} else {
			r.wait(EmptyTime - listTime)
		}
	}
}

// waitForReturn waits until Nextcloud is to be asked, or has been there for long
// enough. The caller holds r.mu.
func (r *Room) waitForReturn() {
	v := &r.vigil
	if v.since.IsZero() {
		v.since = time.Now()
	}
	r.wait(max(min(askTime, time.Until(v.since.Add(ReturnTime-listTime))), time.Millisecond))
}

// wait has what comes after a time without anybody come in d; 0: not at all. The
// caller holds r.mu.
func (r *Room) wait(d time.Duration) {
	v := &r.vigil
	if v.alone != nil {
		v.alone.Stop()
		v.alone = nil
	}
	if d == 0 || r.over {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		var then func()
		r.mu.Lock()
		if v.alone == t { // or somebody has come meanwhile
			v.alone = nil
			then = r.waited()
		}
		r.mu.Unlock()
		if then != nil {
			then()
		}
	})
	v.alone = t
}

// waited is the end of a time without anybody. It returns what is to follow once
// r.mu is free, which the caller holds.
func (r *Room) waited() (then func()) {
	v := &r.vigil
	switch {
	case v.looking:
		v.looking = false
		empty := r.inCall() == 0
		if empty {
			v.returning = false
		}
		kinds := r.changed()
		r.judge()
		if !empty {
			return nil
		}
		return func() {
			for _, k := range kinds {
				r.tell(k)
			}
			r.tell(Empty)
		}
	}
	v.asking = true
	return r.ask
}

// lookOnce sees once more who is there: what was sent of that over a connection
// that was lost may be lost. What we publish would end with it, so then it is not
// done in vain. The caller holds r.mu.
func (r *Room) lookOnce() {
	r.vigil.looking = true
	if r.media.used && !(r.unsure && r.unnamed()) {
		r.wait(listTime)
		return
	}
	r.look()
}

// unnamed reports whether the list has a human in the call whom no join has named:
// who has left, or whose join was lost. The caller holds r.mu.
func (r *Room) unnamed() bool {
	for id, m := range r.list {
		if m.inCall() && !m.machine && r.members[id] == nil {
			return true
		}
	}
	return false
}

// ask asks Nextcloud whether it is there: without it nobody can come back, and
// those who have left may have had no choice.
func (r *Room) ask() {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.rooms[r.id] != r {
		return
	}
	s.wg.Go(func() { r.asked(s.backend.alive(r.ctx)) })
}

// asked is told what came of that.
func (r *Room) asked(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := &r.vigil
	v.asking = false
	switch {
	case r.over || r.inCall() != 0:
		r.judge()
	case err != nil:
		v.returning, v.since = true, time.Now()
		r.waitForReturn()
	case v.returning && time.Since(v.since) < ReturnTime-listTime:
		r.waitForReturn()
	default:
		r.lookOnce()
	}
}
