package phone

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Prefix is what the paths of all routes begin with.
const Prefix = "/api/v3/"

// A route is a path, with * for what differs, and the handlers of its methods.
// A ** at the end is the rest of the path, whatever slashes are in it.
type route struct {
	path    string
	methods map[string]func(*Service, http.ResponseWriter, *request)
	login   bool // needs a password instead of a token
	open    bool // needs no token; one that is given says who asks
	calls   bool // about calls: needs the access level, and calls switched on
	socket  bool // a WebSocket
	body    bool // reads the body, before it calls anybody
}

var routes = []route{
	{path: "auth/login", login: true, methods: methods{"POST": (*Service).logIn}},
	{path: "auth/logout", methods: methods{"POST": (*Service).logOut}},
	{path: "client/health", open: true, methods: methods{"GET": (*Service).health}},
	{path: "client/settings", open: true, methods: methods{"GET": (*Service).settings}},
	{path: "user/whoami", methods: methods{"GET": (*Service).whoAmI}},
	{path: "user/profile", methods: methods{"GET": (*Service).ownProfile}},
	{path: "users/favorites", methods: methods{"GET": (*Service).favorites}},
	{path: "users/blocks", methods: methods{"GET": (*Service).blocks}},
	{path: "users/mutes", methods: methods{"GET": (*Service).mutes}},
	{path: "users/match/allnames/**", methods: methods{"GET": (*Service).matchNames}},
	{path: "users/find/*", methods: methods{"GET": (*Service).findUser}},
	{path: "users/*", methods: methods{"GET": (*Service).userHeader}},
	{path: "users/*/header", methods: methods{"GET": (*Service).userHeader}},
	{path: "users/*/profile", methods: methods{"GET": (*Service).userProfile}},
	{path: "users/*/favorite", methods: methods{"POST": (*Service).addFavorite, "DELETE": (*Service).removeFavorite}},
	{path: "users/*/unfavorite", methods: methods{"POST": (*Service).removeFavorite}},
	{path: "users/*/block", methods: methods{"POST": (*Service).block}},
	{path: "users/*/unblock", methods: methods{"POST": (*Service).unblock}},
	{path: "users/*/mute", methods: methods{"POST": (*Service).mute}},
	{path: "users/*/unmute", methods: methods{"POST": (*Service).unmute}},
	{path: "notification/global", open: true, methods: methods{"GET": (*Service).notifications}},
	{path: "notification/socket", socket: true, methods: methods{"GET": (*Service).notificationSocket}},
	{path: "phone/initiate/*/to/*", calls: true, body: true, methods: methods{"POST": (*Service).initiate}},
	{path: "phone/answer/*", calls: true, methods: methods{"POST": (*Service).answerPost}},
	{path: "phone/decline/*", calls: true, methods: methods{"POST": (*Service).declinePost}},
	{path: "phone/socket/initiate/*/to/*", calls: true, socket: true, methods: methods{"GET": (*Service).initiateSocket}},
	{path: "phone/socket/answer/*", calls: true, socket: true, methods: methods{"GET": (*Service).answerSocket}},
}

type methods = map[string]func(*Service, http.ResponseWriter, *request)

// find returns the route of a path, and what stands for its *.
func find(path string) (*route, []string) {
	path, ok := strings.CutPrefix(path, Prefix)
	if !ok {
		return nil, nil
	}
	path = strings.TrimSuffix(path, "/")
	given := strings.Split(path, "/")
	for i := range routes {
		if start, ok := strings.CutSuffix(routes[i].path, "**"); ok {
			if rest, ok := strings.CutPrefix(path, start); ok && rest != "" {
				return &routes[i], []string{rest}
			}
			continue
		}
		var args []string
		if slices.EqualFunc(strings.Split(routes[i].path, "/"), given, func(want, got string) bool {
			if want == "*" {
				args = append(args, got)
			}
			return want == got || want == "*" && got != ""
		}) {
			return &routes[i], args
		}
	}
	return nil, nil
}

// A request is one that was let in.
type request struct {
	*http.Request
	user  User // nobody where no token is needed, and none is given
	token tokenHash
	args  []string // of the path
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.crossSite(w, r) {
		return
	}
	route, args := find(r.URL.Path)
	if route == nil {
		s.refuse(w, errNotFound)
		return
	}
	method := r.Method
	if method == http.MethodHead && !route.socket {
		method = http.MethodGet
	}
	answer := route.methods[method]
	if answer == nil {
		w.Header().Set("Allow", allow(route))
		s.refuse(w, errMethod)
		return
	}
	q := &request{Request: r, args: args}
	if !route.login && !s.authenticate(w, q, route.open) {
		return
	}
	if route.calls {
		switch {
		case !reaches(q.user.Level, s.cfg.MinLevel):
			s.refuse(w, errForbidden)
			return
		case s.off.Load():
			s.refuse(w, errSwitchedOff)
			return
		}
	}
	if route.socket {
		if bad := handshake(r); bad != nil {
			switch {
			case bad != errUpgrade:
				w.Header().Set("Sec-WebSocket-Version", "13")
			case r.ProtoMajor == 1: // in HTTP/2 these end the stream (RFC 9113 §8.2.2)
				w.Header().Set("Upgrade", "websocket")
				w.Header().Set("Connection", "Upgrade")
			}
			s.refuse(w, bad)
			return
		}
	}
	if !route.login {
		wait := time.Duration(0)
		if q.known() {
			wait = s.rate.Wait(q.user.ID.String(), time.Now())
		} else {
			wait = s.strangers.Wait(s.cfg.Address(r).String(), time.Now())
		}
		if wait > 0 {
			s.refuseFor(w, errTooMany, wait)
			return
		}
	}
	s.between()
	answer(s, w, q)
}

func allow(r *route) string {
	var list []string
	for m := range r.methods {
		list = append(list, m)
		if m == http.MethodGet && !r.socket {
			list = append(list, http.MethodHead)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// known reports whether a token has said who asks.
func (q *request) known() bool { return q.user.ID != ID{} }

// authenticate finds the user of the token, or has responded 401. Who gives no
// token, or an old one, is nobody where anybody may ask: an app asks for the
// state of the server before its user logs in, and after his token has ended.
func (s *Service) authenticate(w http.ResponseWriter, q *request, anybody bool) bool {
	token := bearer(q.Request)
	if token != "" {
		q.token = sha256.Sum256([]byte(token))
		var err error
		if q.user, err = s.cfg.Store.withToken(q.Context(), q.token); err == nil {
			return true
		} else if !errors.Is(err, ErrNoUser) {
			s.fail(w, q.Request, err)
			return false
		}
	}
	if anybody {
		return true
	}
	s.refuseToken(w)
	return false
}

// refuseToken refuses a request without a valid token.
func (s *Service) refuseToken(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	s.refuse(w, errNotAuthenticated)
}

// bearer is the token of a request. Pages cannot give a WebSocket an
// Authorization field: they may offer it as a subprotocol, "bearer.TOKEN",
// beside the one that they get, "phone".
func bearer(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	for _, line := range r.Header["Sec-Websocket-Protocol"] {
		for offer := range strings.SplitSeq(line, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(offer), "bearer."); ok {
				return token
			}
		}
	}
	return ""
}

// handshake says what keeps a request from becoming a WebSocket (RFC 6455
// §4.2.1), before anything is done for it.
func handshake(r *http.Request) *refusal {
	if r.ProtoMajor != 1 || !r.ProtoAtLeast(1, 1) || !hasToken(r.Header["Connection"], "upgrade") || !hasToken(r.Header["Upgrade"], "websocket") {
		return errUpgrade
	}
	keys := r.Header["Sec-Websocket-Key"]
	if r.Header.Get("Sec-WebSocket-Version") != "13" || len(keys) != 1 {
		return errHandshake
	}
	if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(key) != 16 {
		return errHandshake
	}
	return nil
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}

func (s *Service) refuse(w http.ResponseWriter, r *refusal) {
	s.stats.refused.Add(1)
	refuse(w, r)
}

func (s *Service) refuseFor(w http.ResponseWriter, r *refusal, wait time.Duration) {
	s.stats.refused.Add(1)
	refuseFor(w, r, wait)
}

// fail responds 500 for what is not the client's fault, and tells the operator.
// A client that is gone gets no response.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	s.log.Error("the phone's database fails", "error", err)
	s.refuse(w, errInternal)
}

// Owns reports whether a request is the service's, by its path.
func Owns(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, Prefix) }

// ReadsBody reports whether the resource that r asks for reads r's body. It
// does so before it calls anybody.
func ReadsBody(r *http.Request) bool {
	route, _ := find(r.URL.Path)
	return route != nil && route.body && r.Method == http.MethodPost
}

// Fail writes a status as the service does, where its server fails before it is
// asked.
func Fail(w http.ResponseWriter, status int) {
	refuse(w, &refusal{status, http.StatusText(status)})
}
