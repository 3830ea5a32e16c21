package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"sipxrest/event"
	"sipxrest/restauth"
)

// Where sipXrest's resource is. Newer portals come by the second one.
const (
	cdrPrefix         = "/cdr"
	cdrRedirectPrefix = "/sipxconfig/rest/my/redirect/cdr"
)

// OwnsCDR reports whether r asks for sipXrest's resource of call records.
func OwnsCDR(r *http.Request) bool { return CDRRoute(r) != "" }

// CDRRoute names that resource without what its client wrote; empty for others.
func CDRRoute(r *http.Request) string {
	for _, prefix := range []string{cdrPrefix, cdrRedirectPrefix} {
		if user, ok := strings.CutPrefix(r.URL.EscapedPath(), prefix+"/"); ok && user != "" && !strings.Contains(strings.TrimSuffix(user, "/"), "/") {
			return prefix + "/{user}"
		}
	}
	return ""
}

// sipXrest: the documents are those of CdrLogRestlet, but for the faults that
// docs/differences.md lists.

// CDRHandler serves sipXrest's resource: the calls of a user as an XML document, for who
// proves his PIN, and for trusted peers.
func (a *API) CDRHandler() http.Handler {
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	for _, route := range []struct {
		prefix    string
		authorize func(http.ResponseWriter, *http.Request, string) (*restauth.User, bool)
	}{{cdrPrefix, a.gate.Authorize}, {cdrRedirectPrefix, a.gate.AuthorizeSelf}} {
		serve := func(w http.ResponseWriter, r *http.Request) { a.sipxCDRs(w, r, route.authorize) }
		r.Path(route.prefix + "/{user}").HandlerFunc(serve)
		r.Path(route.prefix + "/{user}/").HandlerFunc(serve)
	}
	return r
}

// sipxQuery is what a client of sipXrest asks for.
type sipxQuery struct {
	limit, offset int
	from          time.Time
}

const (
	sipxLimit = 1000
	// maxSipxLimit bounds one document.
	maxSipxLimit = 100_000
)

// sipxParams reads the parameters. Unknown ones are ignored, as by sipXrest. err is a
// sentence.
func sipxParams(query url.Values) (q sipxQuery, err error) {
	q.limit = sipxLimit
	for name, to := range map[string]*int{"limit": &q.limit, "offset": &q.offset} {
		if text := query.Get(name); query.Has(name) {
			n, ok := number(text, 0, 1<<31-1)
			if !ok {
				return q, fmt.Errorf("%s=%s: a whole number is expected, 0 or more", name, clip(text, 64))
			}
			*to = n
		}
	}
	q.limit = min(q.limit, maxSipxLimit)
	if text := query.Get("fromdate"); query.Has("fromdate") {
		if q.from, err = time.ParseInLocation("20060102", text, time.Local); err != nil {
			return q, fmt.Errorf("fromdate=%s: a date is expected, written as 20261130", clip(text, 64))
		}
	}
	return q, nil
}

// sipxCDRs answers a client of sipXrest.
func (a *API) sipxCDRs(w http.ResponseWriter, r *http.Request, authorize func(http.ResponseWriter, *http.Request, string) (*restauth.User, bool)) {
	name, _ := url.PathUnescape(mux.Vars(r)["user"]) // net/http has refused malformed ones
	name = restauth.TrimBlanks(name)
	user, ok := authorize(w, r, name)
	switch {
	case !ok:
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		sipxFail(w, http.StatusMethodNotAllowed, "Call records can only be read: use GET.")
		return
	case user == nil: // for a trusted peer
		sipxFail(w, http.StatusForbidden, "There is no user "+clip(name, 64)+".")
		return
	}
	q, err := sipxParams(r.URL.Query())
	if err != nil {
		sipxFail(w, http.StatusBadRequest, "Bad parameter "+err.Error()+".")
		return
	}
	of := a.addressesOf(user)
	f := event.CDRFilter{Parties: of, StartAfter: q.from}
	page := event.CDRPage{Limit: min(q.limit, csvPage), Offset: q.offset}
	var first []*event.CDR
	next := ""
	if q.limit > 0 {
		if first, next, err = a.bus.CDRs(r.Context(), f, page); err != nil {
			a.log.Error("call records cannot be read", "error", err)
			sipxFail(w, http.StatusInternalServerError, "The call records cannot be read: see the log of the service.")
			return
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/xml; charset=UTF-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	if err := a.sendSipx(r.Context(), w, &f, first, next, q.limit); err != nil {
		panic(http.ErrAbortHandler) // a part must not look like the whole
	}
}

// sipxFail answers with a sentence.
func sipxFail(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // nobody is left to be told
}

// sendSipx writes the document, page by page.
func (a *API) sendSipx(ctx context.Context, w http.ResponseWriter, f *event.CDRFilter, page []*event.CDR, next string, limit int) (err error) {
	control := http.NewResponseController(w)
	doc := []byte(`<?xml version="1.0" encoding="UTF-8" standalone="no"?>`)
	if len(page) == 0 {
		doc = append(doc, "<Results/>"...)
	} else {
		doc = append(doc, "<Results>"...)
	}
	for {
		for _, r := range page {
			doc = appendSipxRow(doc, r)
		}
		limit -= len(page)
		last := next == "" || limit <= 0
		if last && len(doc) > 0 && !strings.HasSuffix(string(doc), "<Results/>") {
			doc = append(doc, "</Results>"...)
		}
		_ = control.SetWriteDeadline(time.Now().Add(csvWrite)) // a test's recorder has none
		if _, err := w.Write(doc); err != nil || last {
			return err
		}
		doc = doc[:0]
		if page, next, err = a.bus.CDRs(ctx, *f, event.CDRPage{Cursor: next, Limit: min(limit, csvPage)}); err != nil {
			return err
		}
	}
}

// appendSipxRow adds the row of a record.
func appendSipxRow(doc []byte, r *event.CDR) []byte {
	doc = append(doc, "<Row>"...)
	for _, field := range [...]struct{ name, text string }{
		{"caller_aor", sipxAOR(r.CallerAOR)}, {"callee_aor", sipxAOR(r.CalleeAOR)}, {"callee_contact", r.CalleeContact},
		{"start_time", sipxTime(r.StartTime)}, {"duration", sipxDuration(r)}, {"termination", r.Termination}, {"callee_route", r.CalleeRoute},
	} {
		text := field.text
		if text == "" {
			text = "null"
		}
		doc = append(append(append(doc, '<'), field.name...), '>')
		doc = appendXMLText(doc, text)
		doc = append(append(append(doc, "</"...), field.name...), '>')
	}
	return append(doc, "</Row>"...)
}

// sipxAOR is an address as sipXecs writes it.
func sipxAOR(address string) string {
	switch {
	case address == "" || strings.HasPrefix(address, "sip:") || strings.HasPrefix(address, "sips:") || strings.HasPrefix(address, "tel:"):
		return address
	case !strings.Contains(address, "@") && strings.HasPrefix(address, "+"):
		return "tel:" + address
	}
	return "sip:" + address
}

// sipxTime is a time as java.sql.Timestamp writes it, in UTC.
func sipxTime(t event.Time) string {
	if t.IsZero() {
		return ""
	}
	text := strings.TrimRight(t.UTC().Format("2006-01-02 15:04:05.000"), "0")
	if strings.HasSuffix(text, ".") {
		text += "0"
	}
	return text
}

// sipxDuration is how long the parties talked, as an interval of PostgreSQL's driver
// writes it.
func sipxDuration(r *event.CDR) string {
	if r.ConnectTime.IsZero() || r.EndTime.IsZero() {
		return ""
	}
	ms := max(r.EndTime.Sub(r.ConnectTime.Time).Milliseconds(), 0)
	secs := strconv.FormatFloat(float64(ms%60_000)/1000, 'f', -1, 64)
	if !strings.Contains(secs, ".") {
		secs += ".0"
	}
	return fmt.Sprintf("0 years 0 mons %d days %d hours %d mins %s secs", ms/86_400_000, ms/3_600_000%24, ms/60_000%60, secs)
}

// appendXMLText escapes a text as Java's serializer does. What no XML document may hold
// is replaced.
func appendXMLText(doc []byte, text string) []byte {
	for _, c := range text {
		switch {
		case c == '&':
			doc = append(doc, "&amp;"...)
		case c == '<':
			doc = append(doc, "&lt;"...)
		case c == '>':
			doc = append(doc, "&gt;"...)
		case c == '\r':
			doc = append(doc, "&#13;"...)
		case c < ' ' && c != '\t' && c != '\n', c == 0xFFFE, c == 0xFFFF:
			doc = append(doc, "\uFFFD"...)
		default:
			doc = append(doc, string(c)...)
		}
	}
	return doc
}
