package dialout

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/talk"
)

// Prefix is where the JSON resource is.
const Prefix = "/dialout"

// maxBody bounds a request, in bytes.
const maxBody = 16 << 10

// Handler serves the JSON resource at Prefix and below:
//
//	POST   /dialout                  calls a number
//	GET    /dialout/{callid}         how the call fares
//	GET    /dialout/{callid}/events  the same as a stream (SSE)
//	DELETE /dialout/{callid}         hangs it up
//
// The authenticated user is the agent; a trusted peer names him in the query
// (agent). Only the agent sees a call, and trusted peers that name nobody.
func (s *Service) Handler() http.Handler { return s.handler }

// Owns reports whether r asks for the JSON resource.
func Owns(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, Prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// ReadsBody reports whether the resource that r asks for reads r's body. It
// does so before it calls anybody.
func ReadsBody(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Path == Prefix }

// Streams reports whether r asks for a stream of events, which lasts.
func Streams(r *http.Request) bool {
	return r.Method == http.MethodGet && Route(r) == Prefix+"/{callid}/events"
}

// Route names the resource that r asks for without what its client wrote;
// empty when there is none.
func Route(r *http.Request) string {
	if !Owns(r) {
		return ""
	}
	switch parts := strings.Split(strings.TrimPrefix(r.URL.Path, Prefix), "/"); {
	case len(parts) == 1:
		return Prefix
	case len(parts) == 2 && parts[1] != "":
		return Prefix + "/{callid}"
	case len(parts) == 3 && parts[1] != "" && parts[2] == "events":
		return Prefix + "/{callid}/events"
	}
	return ""
}

func (s *Service) newHandler() http.Handler {
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	resource := func(path string, methods map[string]http.HandlerFunc) {
		var allowed []string
		for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
			if methods[m] != nil {
				allowed = append(allowed, m)
			}
		}
		allow := strings.Join(allowed, ", ")
		r.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if h := methods[r.Method]; h != nil {
				h(w, r)
				return
			}
			w.Header().Set("Allow", allow)
			sendRefusal(w, refuse(badMethod, "Use "+allow+" here."))
		})
	}
	resource(Prefix, map[string]http.HandlerFunc{http.MethodPost: s.post})
	resource(Prefix+"/{callid}", map[string]http.HandlerFunc{http.MethodGet: s.get, http.MethodHead: s.get, http.MethodDelete: s.delete})
	resource(Prefix+"/{callid}/events", map[string]http.HandlerFunc{http.MethodGet: s.events})
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sendRefusal(w, refuse(noSuchCall, "There is nothing here: calls are made by POST "+Prefix+"."))
	})
	return r
}

// authorize says who is asking: a user, or nobody for a trusted peer that names
// none. If false it has responded.
func (s *Service) authorize(w http.ResponseWriter, r *http.Request) (agent *restauth.User, ok bool) {
	name, _ := restauth.UserParam(rawParam(r.URL.RawQuery, "agent"))
	if name == "" {
		name = restauth.Claim(r)
	}
	agent, ok = s.gate.Authorize(w, r, name)
	if ok && agent == nil && name != "" {
		sendRefusal(w, refuse(noSuchUser, ""))
		return nil, false
	}
	return agent, ok
}

// rawParam is the value of the first parameter of that name in a query, as it
// was sent.
func rawParam(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// post calls a number.
func (s *Service) post(w http.ResponseWriter, r *http.Request) {
	agent, ok := s.authorize(w, r)
	if !ok {
		return
	}
	if agent == nil {
		sendRefusal(w, refuse(noSuchUser, "")) // somebody must be responsible for the call
		return
	}
	c := s.newCall(FromREST, "")
	c.agent, c.request = agent.Name, order.RequestID(r)
	if why := s.begin(w, r, c, agent); why != nil {
		c.stop()
		s.count(FromREST, Refused)
		c.log.Info("phone call refused", "agent", c.agent, "code", why.code, "reason", why.message)
		sendRefusal(w, why)
		return
	}
	w.Header().Set("Location", Prefix+"/"+c.id)
	send(w, http.StatusOK, envelope{Type: "dialout", Dialout: body{CallID: c.id}})
}

// begin makes the call that r asks for, or returns why not.
func (s *Service) begin(w http.ResponseWriter, r *http.Request, c *call, agent *restauth.User) *refusal {
	want, why := readOrder(w, r)
	if why != nil {
		return why
	}
	o, why := s.orderOf(c, want)
	if why != nil {
		return why
	}
	// As for other calls: a peer that may name any user is not bound by limits of one.
	o.agent, o.client = agent, order.ClientOf(s.gate, r)
	c.peer = o.client.Addr
	if why := s.admit(c); why != nil {
		return why
	}
	// A client that goes away keeps its call.
	if err := c.place(o); err != nil {
		s.release(c)
		s.running.Done()
		if why := c.doomed(); why != nil {
			return doomRefusal(why)
		}
		c.log.Warn("the phone cannot be called", "agent", c.agent, "error", err)
		if errors.Is(err, context.DeadlineExceeded) {
			return refuse(noGateway, "")
		}
		return placeRefusal(err)
	}
	c.log.Info("phone call accepted", "agent", c.agent)
	c.say(talk.Status{State: talk.Accepted})
	go func() {
		defer s.running.Done()
		c.run()
	}()
	return nil
}

// wanted is what a client sends.
type wanted struct {
	Number  string `json:"number"`
	Options struct {
		Target    string `json:"target"`
		Caller    string `json:"caller"`
		Anonymous bool   `json:"anonymous"`
	} `json:"options"`
}

// orderOf checks what a client wants.
func (s *Service) orderOf(c *call, want *wanted) (*placement, *refusal) {
	number, why := parseNumber(want.Number, s.cfg.Country)
	if why != nil {
		return nil, why
	}
	c.number = number
	if why := checkCaller(want.Options.Caller, want.Options.Anonymous); why != nil {
		return nil, why
	}
	target := want.Options.Target
	if target == "" {
		target = s.cfg.Target
	}
	if target == "" {
		return nil, refuse(badTarget, "")
	}
	uri, err := targetURI(target, s.cfg.Domain)
	if err != nil {
		return nil, refuse(badTarget, "options.target is not a SIP URI, such as sip:conference@pbx.example.")
	}
	if why := s.allowed(c.agent, number); why != nil {
		return nil, why
	}
	if want.Options.Target != "" { // the configured one is not the client's choice
		if why := s.allowed(c.agent, uri); why != nil {
			return nil, why
		}
	}
	return &placement{callID: c.id, number: number, target: uri, chosen: want.Options.Target != "", caller: want.Options.Caller, anonymous: want.Options.Anonymous}, nil
}

// readOrder reads a request's body. Fields that are unknown are refused: one
// that is misspelt might be the one that hides the caller's number.
func readOrder(w http.ResponseWriter, r *http.Request) (*wanted, *refusal) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, refuse(notJSON, "")
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, refuse(tooLarge, "The request is too large: "+strconv.Itoa(maxBody)+" bytes are the most.")
	case err != nil:
		return nil, refuse(badRequest, "The request was cut short.")
	}
	var message struct {
		Type    string  `json:"type"`
		Dialout *wanted `json:"dialout"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&message); err != nil {
		return nil, refuse(badRequest, "The request is not valid: "+explainJSON(err))
	}
	switch _, err := d.Token(); {
	case err != io.EOF:
		return nil, refuse(badRequest, "The request is not valid: something follows the JSON object.")
	case message.Type != "dialout" || message.Dialout == nil:
		return nil, refuse(badRequest, "")
	case message.Dialout.Number == "":
		return nil, refuse(badNumber, "The number is missing: give dialout.number.")
	}
	return message.Dialout, nil
}

// explainJSON says what is wrong with JSON without repeating much of it.
func explainJSON(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		field := kind.Field
		if field == "" {
			field = "the whole"
		}
		return field + " must be " + kindOf(kind.Type.String()) + ", and is a JSON " + kind.Value + "."
	case errors.Is(err, io.EOF):
		return "it is empty."
	case errors.As(err, &syntax):
		return "it is not JSON from byte " + strconv.FormatInt(syntax.Offset, 10) + " on."
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		name := strings.TrimPrefix(err.Error(), "json: unknown field ")
		return "it has the unknown field " + name[:min(len(name), 64)] + "."
	}
	return "it is not JSON."
}

// kindOf names what a field must be.
func kindOf(goType string) string {
	switch goType {
	case "string":
		return "a JSON string"
	case "bool":
		return "true or false"
	}
	return "a JSON object"
}

// get responds with how a call fares.
func (s *Service) get(w http.ResponseWriter, r *http.Request) {
	if t, ok := s.ask(w, r, &question{}); ok {
		send(w, http.StatusOK, envelope{Type: "dialout", Dialout: bodyOf(t.Statuses[len(t.Statuses)-1])})
	}
}

// delete hangs a call up. It does not wait until the phones have.
func (s *Service) delete(w http.ResponseWriter, r *http.Request) {
	if t, ok := s.ask(w, r, &question{End: true}); ok {
		send(w, http.StatusOK, envelope{Type: "dialout", Dialout: bodyOf(t.Statuses[len(t.Statuses)-1])})
	}
}

// ask asks, of this node's calls or of another's, what a client wants of the one that r is
// about. If false it has responded. A call of somebody else looks as if there were none.
func (s *Service) ask(w http.ResponseWriter, r *http.Request, q *question) (fare, bool) {
	c, there, ok := s.callFor(w, r, q)
	switch {
	case !ok:
		return fare{}, false
	case c == nil:
		return there, true
	case q.End:
		c.hangUp(errClient)
	}
	statuses, more := c.after(0)
	return fare{Known: true, Statuses: statuses, Over: more == nil}, true
}

// callFor returns the call that r is about: c of this node, else what another node tells
// that was asked. If false it has responded.
func (s *Service) callFor(w http.ResponseWriter, r *http.Request, q *question) (c *call, there fare, ok bool) {
	agent, ok := s.authorize(w, r)
	if !ok {
		return nil, fare{}, false
	}
	if q.ID = mux.Vars(r)["callid"]; agent != nil {
		q.Agent = agent.Name
	}
	if c = s.find(q.ID); c != nil && c.isOf(q.Agent, agent != nil) {
		return c, fare{}, true
	}
	if c == nil {
		there, known, err := s.elsewhere(r.Context(), q)
		switch {
		case err != nil:
			sendRefusal(w, refuse(noNode, ""))
			return nil, fare{}, false
		case known && len(there.Statuses) > 0:
			return nil, there, true
		}
	}
	sendRefusal(w, refuse(noSuchCall, ""))
	return nil, fare{}, false
}

// envelope is the response's JSON, as the signaling server words it.
type envelope struct {
	Type    string `json:"type"`
	Dialout body   `json:"dialout"`
}

type body struct {
	CallID  string         `json:"callid,omitempty"`
	Status  talk.CallState `json:"status,omitempty"`
	Cause   string         `json:"cause,omitempty"`
	Code    int            `json:"code,omitempty"`
	Message string         `json:"message,omitempty"`
	Error   *errorBody     `json:"error,omitempty"`
}

type errorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func bodyOf(s talk.Status) body {
	return body{CallID: s.CallID, Status: s.State, Cause: s.Cause, Code: s.Code, Message: s.Message}
}

func sendRefusal(w http.ResponseWriter, why *refusal) {
	if why.status == http.StatusServiceUnavailable || why.status == http.StatusTooManyRequests {
		wait := cmp.Or(why.wait, 5*time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	send(w, why.status, envelope{Type: "dialout", Dialout: body{Error: &errorBody{why.code, why.message}}})
}

// Fail responds for a listener that does not let a request through to Handler:
// 413, else 500.
func Fail(w http.ResponseWriter, status int) {
	code := internalError
	if status == http.StatusRequestEntityTooLarge {
		code = tooLarge
	}
	sendRefusal(w, refuse(code, ""))
}

func send(w http.ResponseWriter, status int, e envelope) {
	data, err := json.Marshal(e)
	if err != nil { // strings and numbers
		data, status = []byte("{}"), http.StatusInternalServerError
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // nobody is left to be told
}
