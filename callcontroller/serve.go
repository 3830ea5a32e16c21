package callcontroller

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/gorilla/mux"

	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/schema"
	"sipxrest/sipflow"
)

// authorize is restauth.Gate.Authorize, or its stricter sister.
type authorize func(w http.ResponseWriter, r *http.Request, agent string) (*restauth.User, bool)

// serve responds to a request for one call. The order is sipXrest's: who is
// asking, what for, does the agent exist, are the parameters right.
func (c *Controller) serve(w http.ResponseWriter, r *http.Request, authorize authorize) {
	vars := mux.Vars(r)
	// net/http has already rejected malformed escapes.
	callingText, _ := url.PathUnescape(vars["calling"])
	calledText, _ := url.PathUnescape(vars["called"])
	callingText, calledText = restauth.TrimBlanks(callingText), restauth.TrimBlanks(calledText)
	p := parseParams(r.URL.RawQuery)

	agentName, agentText, escaped := "callingUser", callingText, true
	if p.agent.raw != "" {
		agentName = "agent"
		agentText, escaped = p.agent.user()
	}
	agentText = order.WithoutScheme(agentText)
	if r.Method == http.MethodPost && p.places() && (c.cfg.Asked == nil || !c.cfg.Asked(r)) {
		// First of all: who is refused for want of time must not cost much of it.
		if err := c.admit(agentText); err != nil {
			refuse(w, r, c.explain(sipflow.Key{}, order.Client{}, err, "placed", ""))
			return
		}
	}
	user, ok := authorize(w, r, agentText)
	if !ok {
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete:
	default:
		w.Header()["Allow"] = allowed
		refuse(w, r, &refusal{status: 405, code: 405, text: "Method " + clip(r.Method) + " not allowed"})
		return
	}

	agent, ok := c.names.Agent(user)
	if !ok {
		if _, ok := c.names.Party(agentText); !ok || !escaped {
			refuse(w, r, badParameter(agentName, agentText))
			return
		}
		refuse(w, r, &refusal{status: 403, code: 403, text: "could not find credentials for " + agentText})
		return
	}
	calling, ok := c.names.Party(callingText)
	if !ok {
		refuse(w, r, badParameter("callingUser", callingText))
		return
	}
	called, ok := c.names.Party(calledText)
	if !ok {
		refuse(w, r, badParameter("calledUser", calledText))
		return
	}
	key := sipflow.Key{Agent: agent.AOR(), Calling: c.names.KeyOf(calling), Called: c.names.KeyOf(called)}
	who := order.ClientOf(c.gate, r)
	var refused *refusal
	switch r.Method {
	case http.MethodPost:
		var o request
		if o, refused = c.parseOrder(&p); refused != nil {
			break
		}
		if o.transfer {
			refused = c.postTransfer(key, who, &o)
		} else {
			var id string
			o.requestID = order.RequestID(r)
			id, refused = c.postCall(r.Context(), key, user, who, calling, called, &o)
			nameCall(w, id)
		}
	case http.MethodDelete:
		req := order.RequestID(r)
		c.hangsUp(key, user, who, req)
		refused = c.delete(key, user, who, req)
	default:
		c.get(w, r, key, &p)
		return
	}
	if refused != nil {
		refuse(w, r, refused)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// get responds with how the call of key goes.
func (c *Controller) get(w http.ResponseWriter, r *http.Request, key sipflow.Key, p *params) {
	rec := c.records.find(key)
	if c.cfg.Elsewhere != nil && !rec.runs() && c.getElsewhere(w, r, key, rec) {
		return
	}
	c.show(w, r, rec, c.boot, p)
}

// show responds with a record, nil for none, of the node that has that boot.
func (c *Controller) show(w http.ResponseWriter, r *http.Request, rec *record, boot string, p *params) {
	b := buffers.Get().(*buffer)
	defer b.release()
	var method, etag string
	if rec == nil {
		// sipXrest: any method but REFER asks for dialogs.
		method, _ = p.sipMethod.value()
		if method == "" || strings.EqualFold(method, methodRefer) {
			method, etag = methodRefer, `"lines"`
		} else {
			etag = `"dialogs"`
		}
	} else {
		nameCall(w, rec.id)
		method = rec.method
		var version uint32
		if method == methodRefer {
			b.lines, version = rec.appendLines(b.lines[:0])
		} else {
			b.dialogs, version = rec.appendDialogs(b.dialogs[:0])
		}
		b.text = append(b.text[:0], '"')
		b.text = append(b.text, boot...)
		b.text = append(b.text, '-')
		b.text = strconv.AppendUint(b.text, rec.seq, 36)
		b.text = append(b.text, '-')
		b.text = strconv.AppendUint(b.text, uint64(version), 36)
		b.text = append(b.text, '"')
		etag = string(b.text)
	}
	h := w.Header()
	h["Etag"] = []string{etag}
	h["Cache-Control"] = noCache
	if matches(r.Header["If-None-Match"], etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if method == methodRefer {
		b.text = schema.AppendStatusLines(b.text[:0], b.lines)
	} else {
		b.text = schema.AppendDialogs(b.text[:0], b.dialogs)
	}
	b.write(w, r, http.StatusOK)
}

// matches reports whether the entity tags of If-None-Match name etag (RFC 9110
// §13.1.2, weak comparison).
func matches(fields []string, etag string) bool {
	for _, field := range fields {
		for field != "" {
			var tag string
			tag, field, _ = strings.Cut(field, ",")
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}

// refuse responds with the processing-status document.
func refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	switch {
	case why.retry > 0:
		w.Header()["Retry-After"] = []string{strconv.Itoa(why.retry)}
	case why.status == http.StatusServiceUnavailable:
		w.Header()["Retry-After"] = retryAfter
	}
	b := buffers.Get().(*buffer)
	defer b.release()
	b.text = schema.AppendProcessingStatus(b.text[:0], why.code, why.text)
	b.write(w, r, why.status)
}

// Header values that are the same for all responses.
var (
	contentType = []string{"text/xml; charset=UTF-8"}
	noCache     = []string{"no-cache"}
	allowed     = []string{"GET, HEAD, POST, DELETE"}
	retryAfter  = []string{"5"}
)

// buffer is what rendering a response needs.
type buffer struct {
	text    []byte
	lines   []schema.StatusLine
	dialogs []schema.Dialog
}

var buffers = sync.Pool{New: func() any { return &buffer{text: make([]byte, 0, 2048)} }}

// release gives b back, unless one long document has made it big.
func (b *buffer) release() {
	clear(b.lines)
	b.lines = b.lines[:0]
	clear(b.dialogs)
	b.dialogs = b.dialogs[:0]
	if cap(b.text) <= 64<<10 {
		buffers.Put(b)
	}
}

func (b *buffer) write(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(b.text))}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.text) // nobody is left to be told
	}
}

// clip shortens what a client sent for a response.
func clip(s string) string {
	if len(s) > order.MaxUser {
		return strings.ToValidUTF8(s[:order.MaxUser], "") + "…"
	}
	return s
}
