package phone

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"sipxrest/internal/limit"
)

// maxFound is how many users a search returns.
const maxFound = 10

// nobody refuses what is asked for a user who is not there, or not for who asks.
func nobody(who string) *refusal {
	return &refusal{http.StatusNotFound, "no user found for identifier '" + limit.Clip(who, 60) + "'"}
}

func headers(users []User) []*header {
	list := make([]*header, len(users))
	for i := range users {
		list[i] = users[i].header()
	}
	return list
}

// whoAmI tells an app whose token it has.
func (s *Service) whoAmI(w http.ResponseWriter, q *request) {
	writeJSON(w, http.StatusOK, struct {
		ID       ID       `json:"userID"`
		Username string   `json:"username"`
		LoggedIn bool     `json:"isLoggedIn"`
		Level    string   `json:"accessLevel"`
		Roles    []string `json:"roles"`
	}{q.user.ID, q.user.Username, true, q.user.Level, []string{}})
}

// A profile is what is told of a user. Apps read most of it strictly: what is
// not known of him is empty, and not left out.
type profile struct {
	Header      *header `json:"header"`
	DisplayName string  `json:"displayName,omitempty"`
	RealName    string  `json:"realName"`
	Pronoun     string  `json:"preferredPronoun"`
	Home        string  `json:"homeLocation"`
	Room        string  `json:"roomNumber"`
	Email       string  `json:"email"`
	Message     string  `json:"message"`
	About       string  `json:"about"`
	Favorite    bool    `json:"isFavorite"`
}

func (u *User) profile() *profile {
	return &profile{Header: u.header(), DisplayName: u.DisplayName, Pronoun: u.Pronoun}
}

func (s *Service) ownProfile(w http.ResponseWriter, q *request) {
	writeJSON(w, http.StatusOK, q.user.profile())
}

// userProfile is another user's. Who is banned has one for moderators only.
func (s *Service) userProfile(w http.ResponseWriter, q *request) {
	id, ok := ParseID(q.args[0])
	if !ok {
		s.refuse(w, errUserIDMissing)
		return
	}
	other, err := s.cfg.Store.callee(q.Context(), q.user.ID, id)
	if errors.Is(err, ErrNoUser) || err == nil && (other.blocked || other.Level == "banned" && !reaches(q.user.Level, "moderator")) {
		s.refuse(w, errProfile)
		return
	}
	if err == nil {
		p := other.profile()
		if p.Favorite, err = s.cfg.Store.says(q.Context(), Favorite, q.user.ID, id); err == nil {
			writeJSON(w, http.StatusOK, p)
			return
		}
	}
	s.fail(w, q.Request, err)
}

// userHeader is a user's name and picture.
func (s *Service) userHeader(w http.ResponseWriter, q *request) {
	id, ok := ParseID(q.args[0])
	if !ok {
		s.refuse(w, errUserIDMissing)
		return
	}
	s.showHeader(w, q, id, nil)
}

// findUser finds a user by his whole name, or by his ID.
func (s *Service) findUser(w http.ResponseWriter, q *request) {
	user, err := s.cfg.Store.Find(q.Context(), q.args[0])
	s.showHeader(w, q, user.ID, err)
}

func (s *Service) showHeader(w http.ResponseWriter, q *request, id ID, err error) {
	var other callee
	if err == nil {
		other, err = s.cfg.Store.callee(q.Context(), q.user.ID, id)
	}
	switch {
	case errors.Is(err, ErrNoUser) || err == nil && other.blocked:
		who := q.args[0]
		if id, ok := ParseID(who); ok {
			who = id.String()
		}
		s.refuse(w, nobody(who))
	case err != nil:
		s.fail(w, q.Request, err)
	default:
		writeJSON(w, http.StatusOK, other.header())
	}
}

// matchNames finds users by parts of their names, as their user is typed.
func (s *Service) matchNames(w http.ResponseWriter, q *request) {
	text := strings.TrimSpace(q.args[0])
	if text == "@" || text == "(@" { // would list everybody
		s.refuse(w, &refusal{http.StatusForbidden, "'" + text + "' is not a permitted search string"})
		return
	}
	if utf8.RuneCountInString(text) < 2 {
		s.refuse(w, errSearchShort)
		return
	}
	favorers := false
	if value := q.URL.Query().Get("favorers"); value != "" {
		var err error
		if favorers, err = strconv.ParseBool(value); err != nil {
			s.refuse(w, errFavorers)
			return
		}
	}
	users, err := s.cfg.Store.match(q.Context(), q.user.ID, text, favorers, maxFound)
	if err != nil {
		s.fail(w, q.Request, err)
		return
	}
	writeJSON(w, http.StatusOK, headers(users))
}
