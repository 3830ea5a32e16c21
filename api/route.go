package api

import (
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/mux"
)

// Prefix is where everything is.
const Prefix = "/v1"

// A request is one that was let in.
type request struct {
	*http.Request
	id    string // of the request, X-Request-Id
	who   *Principal
	query url.Values // only parameters that the route knows
	how   *method
	// ticket is that which has let the request in, nil for none.
	ticket *ticket
	// forwarded: another node has let it in, for a call of this one.
	forwarded bool
	log       *slog.Logger
}

// vars are the variables of the path, decoded.
func (r *request) vars(name string) string {
	text := mux.Vars(r.Request)[name]
	if decoded, err := url.PathUnescape(text); err == nil {
		return decoded
	}
	return text
}

// A handler answers a request and returns nil, or returns why it does not.
type handler func(w http.ResponseWriter, r *request) *Problem

// A method is what a resource does for one HTTP method.
type method struct {
	do handler
	// scopes are those of which who asks must have one. nil: any will do.
	scopes []Scope
	// params are the query's parameters, each once. A star behind one lets it be
	// repeated; "tag.*" takes every name that begins so. A parameter "agent" is
	// known everywhere.
	params []string
	// accept are the media types of the answer, the first for who does not care.
	// nil: application/json.
	accept []string
	// laterAgent: the body may name the agent, so a trusted peer may leave him
	// out of the query.
	laterAgent bool
	// tickets: a stream ticket proves who asks.
	tickets bool
	// agentFilter: "agent" chooses among what one sees. Of a trusted peer it says for
	// whom it acts all the same.
	agentFilter bool
	// open: nobody need say who he is.
	open bool
	// where says which node of a cluster answers.
	where whereabouts
}

type methods map[string]method

// resource adds the methods of a path to the router.
func (a *API) resource(to *mux.Router, path string, its methods) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		_, is := its[m]
		if _, gets := its[http.MethodGet]; is || m == http.MethodHead && gets {
			allowed = append(allowed, m)
		}
	}
	allow := strings.Join(allowed, ", ")
	to.HandleFunc(Prefix+path, func(w http.ResponseWriter, r *http.Request) {
		name := r.Method
		if name == http.MethodHead {
			name = http.MethodGet
		}
		m, ok := its[name]
		if !ok {
			a.answer(w, r, func(http.ResponseWriter, *request) *Problem {
				return refuse(MethodNotAllowed, allow).with("Allow", allow)
			})
			return
		}
		a.answer(w, r, func(w http.ResponseWriter, q *request) *Problem { return a.admit(w, q, &m) })
	})
}

// answer has do answer r, and words why it does not.
func (a *API) answer(w http.ResponseWriter, r *http.Request, do handler) {
	q := &request{Request: r, id: requestID(r)}
	q.log = a.log.With("request_id", q.id)
	h := w.Header()
	h.Set("X-Request-Id", q.id)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if why := do(w, q); why != nil {
		a.refused(why.Code)
		q.log.Debug("request refused", "method", r.Method, "path", r.URL.Path, "code", why.Code, "detail", why.Detail)
		why.write(w, r.URL.Path, q.id)
	}
}

// admit finds out who asks, and lets him do what he may.
func (a *API) admit(w http.ResponseWriter, r *request, m *method) *Problem {
	var why *Problem
	r.how = m
	if r.query, why = parameters(r.Request, m); why != nil {
		return why
	}
	if !m.open {
		if why := a.identify(r, m); why != nil {
			return why
		}
	}
	if !accepts(r.Header, m.accept) {
		return refuse(NotAcceptable, strings.Join(offered(m.accept), ", "))
	}
	if done, why := a.atCallsNode(w, r, m.where); done {
		return why
	}
	return m.do(w, r)
}

// identify says who asks, and refuses who may not ask this, or asks too often.
func (a *API) identify(r *request, m *method) (why *Problem) {
	if p, ok := r.Context().Value(forwardedKey{}).(*Principal); ok {
		r.who, r.forwarded = p, true
	} else if why = a.letIn(r, m); why != nil {
		return why
	}
	if m.scopes != nil && !slices.ContainsFunc(m.scopes, r.who.Has) {
		return r.who.lacks(m.scopes[0])
	}
	return nil
}

// letIn finds out who asks, and whether not too often.
func (a *API) letIn(r *request, m *method) (why *Problem) {
	if r.who, why = a.who(r, m); why != nil {
		return why
	}
	if wait := a.rate.Wait(r.who.rateName(), a.cfg.Now()); wait > 0 && r.who.Type != PrincipalPeer {
		return refuse(RateLimited, a.cfg.RequestsPerUser, "requests").after(wait)
	}
	return nil
}

// agentFilters reports whether "agent" chooses among what who asks sees.
func (r *request) agentFilters() bool { return r.how.agentFilter && r.who.Type != PrincipalPeer }

// maxRequestID bounds what a client calls its request.
const maxRequestID = 64

// requestID is what the client calls r, or a new name.
func requestID(r *http.Request) string {
	if r != nil {
		if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= maxRequestID && !strings.ContainsFunc(id, func(c rune) bool {
			return (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
		}) {
			return id
		}
	}
	return "req_" + rand.Text()
}

// offered are the media types of an answer.
func offered(types []string) []string {
	if types == nil {
		return []string{"application/json"}
	}
	return types
}

// accepts reports whether a client takes an answer of one of the types. An error
// is told whatever it takes.
func accepts(h http.Header, types []string) bool {
	return preferred(h, offered(types)) != ""
}

// preferred is the one of types that the client would rather have (RFC 9110
// §12.5.1); "" for none.
func preferred(h http.Header, types []string) string {
	lines := h["Accept"]
	if len(lines) == 0 || strings.TrimSpace(strings.Join(lines, "")) == "" {
		return types[0]
	}
	best, bestQ := "", 0.0
	for _, offer := range types {
		q, exact := 0.0, -1
		for item := range strings.SplitSeq(strings.Join(lines, ","), ",") {
			name, params, _ := strings.Cut(item, ";")
			rank := matches(strings.ToLower(strings.TrimSpace(name)), offer)
			if rank < 0 || rank < exact {
				continue
			}
			if v := quality(params); rank > exact || v > q {
				q, exact = v, rank
			}
		}
		if q > bestQ {
			best, bestQ = offer, q
		}
	}
	return best
}

// matches says how exactly a media range names a type: -1 not at all.
func matches(mediaRange, offer string) int {
	kind, _, _ := strings.Cut(offer, "/")
	switch mediaRange {
	case offer:
		return 2
	case kind + "/*":
		return 1
	case "*/*":
		return 0
	}
	return -1
}

// quality reads q of an item's parameters.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil || q < 0 || q > 1 {
				return 0
			}
			return q
		}
	}
	return 1
}

// send answers with a document.
func send(w http.ResponseWriter, status int, document any) *Problem {
	data, err := json.Marshal(document)
	if err != nil {
		return refuse(InternalError)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // nobody is left to be told
	return nil
}
