package phone

import (
	"errors"
	"net/http"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/restauth"
)

// logIn responds with a user's token for his user name and password (HTTP
// Basic, RFC 7617).
func (s *Service) logIn(w http.ResponseWriter, q *request) {
	name, password, ok := q.BasicAuth()
	if !ok {
		s.challenge(w, q)
		return
	}
	addr, now := s.cfg.Address(q.Request), time.Now()
	who := restauth.Suspects(addr, nameKey(name))
	if wait := s.guesses.Wait(now, who...); wait > 0 {
		s.refuseFor(w, errGuesses, wait)
		return
	}
	user, token, err := s.cfg.Store.LogIn(q.Context(), name, password)
	wrong := errors.Is(err, ErrWrongPassword)
	if err == nil || wrong { // many may have waited for their passwords to be hashed
		if wait := s.guesses.Settle(time.Now(), !wrong, who...); wait > 0 {
			s.refuseFor(w, errGuesses, wait)
			return
		}
	}
	switch {
	case wrong:
		s.stats.loginsFailed.Add(1)
		s.log.Info("refused a wrong password", "peer", addr, "user", limit.Clip(name, maxUsername))
		s.challenge(w, q)
	case errors.Is(err, errBusy):
		s.refuseFor(w, errLogins, time.Second)
	case err != nil:
		s.fail(w, q.Request, err)
	default:
		writeJSON(w, http.StatusOK, struct {
			ID    ID     `json:"userID"`
			Level string `json:"accessLevel"`
			Token string `json:"token"`
		}{user.ID, user.Level, token})
	}
}

// challenge refuses a log-in. A page asks its user by itself: a browser that is
// challenged would ask in its own window.
func (s *Service) challenge(w http.ResponseWriter, q *request) {
	if q.Header.Get("Sec-Fetch-Mode") == "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="phone", charset="UTF-8"`)
	}
	s.refuse(w, errNotAuthenticated)
}

// logOut ends the token on all of the user's devices, with their sockets.
func (s *Service) logOut(w http.ResponseWriter, q *request) {
	if err := s.cfg.Store.endToken(q.Context(), q.token); err != nil {
		s.fail(w, q.Request, err)
		return
	}
	s.between()
	s.dropToken(q)
	w.WriteHeader(http.StatusNoContent)
}

// favorites, blocks and mutes list of whom the user has said so.
func (s *Service) favorites(w http.ResponseWriter, q *request) { s.related(w, q, Favorite) }
func (s *Service) blocks(w http.ResponseWriter, q *request)    { s.related(w, q, Block) }
func (s *Service) mutes(w http.ResponseWriter, q *request)     { s.related(w, q, Mute) }

func (s *Service) related(w http.ResponseWriter, q *request, r Relation) {
	users, err := s.cfg.Store.Related(q.Context(), r, q.user.ID)
	if err != nil {
		s.fail(w, q.Request, err)
		return
	}
	writeJSON(w, http.StatusOK, headers(users))
}

func (s *Service) addFavorite(w http.ResponseWriter, q *request) {
	s.relate(w, q, http.StatusCreated, func(other ID) error { return s.cfg.Store.Relate(q.Context(), Favorite, q.user.ID, other) })
}

func (s *Service) removeFavorite(w http.ResponseWriter, q *request) {
	s.relate(w, q, http.StatusNoContent, func(other ID) error { return s.cfg.Store.Unrelate(q.Context(), Favorite, q.user.ID, other) })
}

// relate serves a change of what the user says of another.
func (s *Service) relate(w http.ResponseWriter, q *request, done int, change func(other ID) error) {
	other, ok := ParseID(q.args[0])
	if !ok {
		s.refuse(w, errParameter)
		return
	}
	switch err := change(other); {
	case errors.Is(err, ErrSelf):
		s.refuse(w, errSelfFavorite)
	case errors.Is(err, ErrNoUser):
		s.refuse(w, errNoSuchUser)
	case err != nil:
		s.fail(w, q.Request, err)
	default:
		w.WriteHeader(done)
	}
}

// block has neither call the other any more, nor find him. Moderators cannot be
// blocked. A call that the two have goes on.
func (s *Service) block(w http.ResponseWriter, q *request) {
	other, ok := ParseID(q.args[0])
	if !ok {
		s.refuse(w, errUserIDOther)
		return
	}
	user, err := s.cfg.Store.Get(q.Context(), other)
	if err == nil && reaches(user.Level, "moderator") {
		s.refuse(w, errBlockLevel)
		return
	}
	fresh := false
	if err == nil {
		fresh, err = s.cfg.Store.relate(q.Context(), Block, q.user.ID, other)
	}
	switch {
	case errors.Is(err, ErrNoUser):
		s.refuse(w, errBlockNobody)
	case errors.Is(err, ErrSelf):
		s.refuse(w, errSelfBlock)
	case err != nil:
		s.fail(w, q.Request, err)
	case fresh:
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusOK)
	}
}

func (s *Service) unblock(w http.ResponseWriter, q *request) {
	s.say(w, q, http.StatusNoContent, func(other ID) error { return s.cfg.Store.Unrelate(q.Context(), Block, q.user.ID, other) })
}

// mute has the other not call the user any more; he may call the other.
func (s *Service) mute(w http.ResponseWriter, q *request) {
	s.say(w, q, http.StatusCreated, func(other ID) error { return s.cfg.Store.Relate(q.Context(), Mute, q.user.ID, other) })
}

func (s *Service) unmute(w http.ResponseWriter, q *request) {
	s.say(w, q, http.StatusNoContent, func(other ID) error { return s.cfg.Store.Unrelate(q.Context(), Mute, q.user.ID, other) })
}

// say serves a change of what the user says of another, who must exist.
func (s *Service) say(w http.ResponseWriter, q *request, done int, change func(other ID) error) {
	other, ok := ParseID(q.args[0])
	if !ok {
		s.refuse(w, errNoUserID)
		return
	}
	_, err := s.cfg.Store.Get(q.Context(), other)
	if err == nil {
		err = change(other)
	}
	switch {
	case errors.Is(err, ErrNoUser):
		s.refuse(w, nobody(other.String()))
	case errors.Is(err, ErrSelf):
		s.refuse(w, errSelfMute)
	case err != nil:
		s.fail(w, q.Request, err)
	default:
		w.WriteHeader(done)
	}
}
