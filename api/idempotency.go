package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"sipxrest/event"
)

// maxKey bounds an Idempotency-Key, in characters.
const maxKey = 128

// idempotencyKey reads the field of that name, "" for none: a string of RFC 8941, or
// the same without its quotes.
func idempotencyKey(h http.Header) (string, *Problem) {
	lines := h["Idempotency-Key"]
	if len(lines) == 0 {
		return "", nil
	}
	key, ok := "", false
	if len(lines) == 1 {
		text := strings.Trim(lines[0], " \t")
		if strings.HasPrefix(text, `"`) {
			key, ok = unquoted(text)
		} else {
			key, ok = text, !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == ',' })
		}
	}
	if !ok || key == "" || len(key) > maxKey {
		return "", invalid(MemberFault{Parameter: "Idempotency-Key", Code: memberInvalid,
			Detail: `one string of 1 to 128 printable ASCII characters, such as "8e03978e-40d5-43e8-bc93-6894a57f9324"`})
	}
	return key, nil
}

// unquoted reads a string of RFC 8941 §3.3.3.
func unquoted(text string) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), i == len(text)-1
		case c == '\\':
			if i++; i == len(text) || text[i] != '"' && text[i] != '\\' {
				return "", false
			}
			b.WriteByte(text[i])
		case c < ' ' || c > '~':
			return "", false
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// keyOfID is the key of a create whose client names the call: no field of a header can
// hold it.
func keyOfID(id string) string { return "\t" + id }

// replayed answers a create whose key, or id, has been used: by the call as it is now.
func (a *API) replayed(w http.ResponseWriter, r *request, use event.KeyUse, want *event.IdempotencyKey) *Problem {
	byID := strings.HasPrefix(want.Key, "\t")
	if use.Hash != want.Hash {
		if byID {
			return about(refuse(IDInUse), use.CallID)
		}
		return about(refuse(IdempotencyMismatch, cmpOr(use.CallID, "another request")), use.CallID)
	}
	c, ok := a.bus.Call(use.CallID)
	if a.work.has(use.CallID) || !ok {
		return about(refuse(IdempotencyInProgress).after(placingAgain), use.CallID)
	}
	if a.Access(r.who, c) == NoAccess { // an agent was taken from the key since
		return refuse(CallNotFound, hours(a.cfg.CallTime))
	}
	w.Header().Set("Idempotency-Replayed", "true")
	w.Header().Set("Location", Prefix+"/calls/"+c.ID)
	return a.sendCall(w, r, http.StatusOK, c)
}

// about names the call that a problem is about.
func about(p *Problem, id string) *Problem {
	p.CallID = id
	return p
}

// keptAnswer is what a request with a key was answered.
type keptAnswer struct {
	Status   int             `json:"status"`
	Location string          `json:"location,omitempty"`
	Body     json.RawMessage `json:"body"`
}

// once does something to a call once for an Idempotency-Key: whoever asks again gets
// what the first request got. What a request asked for in vain, without a phone
// having been asked, may be tried again with its key.
func (a *API) once(w http.ResponseWriter, r *request, what, callID string, body []byte, do func(http.ResponseWriter) *Problem) *Problem {
	key, why := idempotencyKey(r.Header)
	if why != nil {
		return why
	}
	if key == "" {
		return do(w)
	}
	use := event.IdempotencyKey{Principal: r.who.rateName(), Key: key, Hash: fingerprint(what, "", body), Until: a.cfg.Now().Add(a.cfg.IdempotencyTime)}
	if err := a.bus.Reserve(use, callID); err != nil {
		var inUse *event.KeyInUseError
		if errors.As(err, &inUse) {
			return a.answeredBefore(w, inUse.KeyUse, &use)
		}
		return a.storeRefusal(err)
	}
	rec := &answerRecorder{ResponseWriter: w, status: http.StatusOK}
	kept := false
	defer func() {
		if !kept { // it was refused, or it panicked
			a.bus.Release(use)
		}
	}()
	why = do(rec)
	answer := keptAnswer{Status: rec.status, Location: w.Header().Get("Location"), Body: rec.body.Bytes()}
	if why != nil {
		if why.Code != PhoneRefused && why.Code != PhoneTimeout && why.Sent == nil {
			return why
		}
		why.Instance = r.URL.Path
		answer.Status = why.Status
		answer.Body, _ = json.Marshal(why) // strings and numbers
	}
	if text, err := json.Marshal(answer); err == nil {
		a.bus.Keep(use, callID, text)
		kept = true
	}
	return why
}

// answeredBefore repeats what a request with the same key was answered.
func (a *API) answeredBefore(w http.ResponseWriter, old event.KeyUse, want *event.IdempotencyKey) *Problem {
	var kept keptAnswer
	switch {
	case old.Hash != want.Hash:
		return about(refuse(IdempotencyMismatch, old.CallID), old.CallID)
	case old.Answer == nil || json.Unmarshal(old.Answer, &kept) != nil:
		return about(refuse(IdempotencyInProgress).after(placingAgain), old.CallID)
	}
	w.Header().Set("Idempotency-Replayed", "true")
	if kept.Status >= http.StatusBadRequest {
		var p Problem
		if json.Unmarshal(kept.Body, &p) != nil {
			return refuse(InternalError)
		}
		return &p
	}
	if kept.Location != "" {
		w.Header().Set("Location", kept.Location)
	}
	return send(w, kept.Status, kept.Body)
}

// An answerRecorder notes an answer on its way. Answers to actions are as long as a
// call.
type answerRecorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *answerRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerRecorder) Write(b []byte) (int, error) {
	w.body.Write(b)
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *answerRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
