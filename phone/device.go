package phone

import (
	"context"
	"errors"
)

// A device is a notification socket of a user.
type device struct {
	leg   *leg
	token tokenHash // that it was opened with
}

// connect adds a notification socket. It is refused when there are too many.
func (s *Service) connect(user ID, d *device) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errDraining
	}
	mine := s.devices[user]
	if len(mine) >= s.cfg.MaxUserSockets {
		return errUserSockets
	}
	if mine == nil {
		mine = map[*device]bool{}
		s.devices[user] = mine
	}
	mine[d] = true
	return nil
}

// disconnect takes it away.
func (s *Service) disconnect(user ID, d *device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := s.devices[user]
	delete(mine, d)
	if len(mine) == 0 {
		delete(s.devices, user)
	}
}

// notify sends a message to all devices of a user. One that has taken none for
// long is given up. s.mu is held.
func (s *Service) notify(user ID, message []byte) {
	for d := range s.devices[user] {
		if !d.leg.tell(message) {
			d.leg.end()
		}
	}
}

// enter counts a socket that is about to be opened; leave, once it has ended.
func (s *Service) enter() *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errDraining
	case s.sockets >= s.cfg.MaxSockets:
		return errSockets
	}
	s.sockets++
	s.serving.Add(1)
	return nil
}

func (s *Service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets--
	s.serving.Done()
}

// drop ends a user's call and his notification sockets, but for those that
// stays lets go on with the token they were opened with. s.mu is held.
func (s *Service) drop(user ID, stays func(tokenHash) bool) {
	if c := s.busy[user]; c != nil {
		side := 0
		if c.callee.ID == user {
			side = 1
		}
		if c.tokens[side] != (tokenHash{}) && !stays(c.tokens[side]) {
			c.endedBy(side, nil)
			s.end(c, Ended, true)
		}
	}
	for d := range s.devices[user] {
		if !stays(d.token) {
			d.leg.end()
		}
	}
}

// dropToken drops what was opened with the request's token, which has ended.
func (s *Service) dropToken(q *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(q.user.ID, func(t tokenHash) bool { return t != q.token })
}

// outlived drops what the request has just opened, and says so, if its token has
// ended since it was let in. Ending a token looks at what is open, and opening
// something looks at the token afterwards: one of the two sees the other.
func (s *Service) outlived(q *request) bool {
	_, err := s.cfg.Store.withToken(context.WithoutCancel(q.Context()), q.token)
	if !errors.Is(err, ErrNoUser) {
		return false
	}
	s.dropToken(q)
	return true
}
