package talk

import "time"

// keepTime is how long after its removal a phone session is remembered. That is
// as long as its connection may have been dead without anybody noticing. It is
// also longer than the signaling server waits for Nextcloud before it says that
// the session was not added.
const keepTime = silenceTime + doubtTime + time.Second

// added is a phone session. What TCP has taken of it may still be lost with the
// connection, and the server confirms nothing. Its fields are guarded by
// Session.mu.
type added struct {
	id    string // of its addsession
	phone Phone
	// addedAt is when its addsession was written, zero if it was not or was told
	// to be in doubt.
	addedAt   time.Time
	seen      bool      // in its room: there is no doubt
	doubt     bool      // Handler.InDoubt is told of it
	removal   *item     // its removesession, nil before RemoveSession
	removedAt time.Time // when that was written, zero if it was not
}

// perhapsNotAdded are the phones whose addsession was written after t to a
// connection that was lost. Each is returned once. The caller holds s.mu, as
// that of the next ones does.
func (s *Session) perhapsNotAdded(t time.Time) (list []Phone) {
	for _, a := range s.added {
		if a.addedAt.After(t) && !a.seen {
			a.addedAt, a.doubt = time.Time{}, true
			list = append(list, a.phone)
		}
	}
	return list
}

// perhapsNotRemoved are the removals that were written after t: a server that
// received them already ignores them.
func (s *Session) perhapsNotRemoved(t time.Time) (list []*item) {
	for _, a := range s.added {
		if a.removedAt.After(t) {
			list = append(list, a.removal)
		}
	}
	return list
}

// perhapsForgotten are the phones of a session that is gone which would have
// been removed, if that was not written or after t: a signaling server that was
// restarted has told Nextcloud nothing.
func (s *Session) perhapsForgotten(t time.Time) (list []Phone) {
	if s.parted {
		return nil // in good order
	}
	for _, a := range s.added {
		if a.removal != nil && (a.removedAt.IsZero() || a.removedAt.After(t)) {
			list = append(list, a.phone)
		}
	}
	return list
}

// forgetLater forgets a phone that was removed once no connection is lost any
// more that this was written to.
func (s *Session) forgetLater(a *added) {
	time.AfterFunc(keepTime, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case s.added[a.id] != a || time.Since(a.removedAt) < keepTime: // written again
		case s.up || s.closed:
			delete(s.added, a.id)
		default:
			s.forgetLater(a)
		}
	})
}
