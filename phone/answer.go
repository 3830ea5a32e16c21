package phone

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// A refusal is a response that is an error, as clients know it.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return r.reason }

// Refusals. Clients show some of the reasons to their users, and log a user out
// on 401 to a request with a token: it is for bad tokens only.
var (
	errNotAuthenticated = &refusal{http.StatusUnauthorized, "User not authenticated."}
	errForbidden        = &refusal{http.StatusForbidden, "Forbidden"}
	errOrigin           = &refusal{http.StatusForbidden, "Cross-site request refused: the page's origin is not in phone.origins."}
	errSwitchedOff      = &refusal{http.StatusUnavailableForLegalReasons, "Unavailable For Legal Reasons"}
	errUpgrade          = &refusal{http.StatusUpgradeRequired, "Upgrade Required"}
	errHandshake        = &refusal{http.StatusBadRequest, "Bad WebSocket handshake: version 13 and one Sec-WebSocket-Key of 16 bytes are needed."}
	errNotFound         = &refusal{http.StatusNotFound, "Not Found"}
	errMethod           = &refusal{http.StatusMethodNotAllowed, "Method Not Allowed"}
	errInternal         = &refusal{http.StatusInternalServerError, "Internal Server Error"}
	errUnprocessable    = &refusal{http.StatusUnprocessableEntity, "Unprocessable Entity"}
	errBody             = &refusal{http.StatusBadRequest, `Request body is not like {"ipV4Addr":"192.0.2.1","ipV6Addr":"2001:db8::1"}.`}
	errTooLarge         = &refusal{http.StatusRequestEntityTooLarge, "Payload Too Large"}
	errTooMany          = &refusal{http.StatusTooManyRequests, "Too many requests."}
	errGuesses          = &refusal{http.StatusTooManyRequests, "Too many failed log-ins."}
	errLogins           = &refusal{http.StatusServiceUnavailable, "Too many log-ins at once."}
	errDraining         = &refusal{http.StatusServiceUnavailable, "The service is shutting down."}
	errSockets          = &refusal{http.StatusServiceUnavailable, "Too many sockets."}
	errUserSockets      = &refusal{http.StatusTooManyRequests, "Too many sockets of this user."}
	errCalls            = &refusal{http.StatusServiceUnavailable, "Too many phone calls."}

	errParameter     = &refusal{http.StatusBadRequest, "Request parameter missing."}
	errUserID        = &refusal{http.StatusBadRequest, "Request parameter user_ID is missing."}
	errCallID        = &refusal{http.StatusBadRequest, "Request parameter call_ID is missing."}
	errCallee        = &refusal{http.StatusBadRequest, "Couldn't find user to call."}
	errRefused       = &refusal{http.StatusBadRequest, "Cannot call this user."}
	errNoFavorite    = &refusal{http.StatusBadRequest, "Cannot call a user who has not made you a favorite user."}
	errOfflineDirect = &refusal{http.StatusBadRequest, "User unavailable."}
	errOffline       = &refusal{http.StatusNotFound, "User unavailable."}
	errCallerBusy    = &refusal{http.StatusBadRequest, "Caller already on a phone call."}
	errCalleeBusy    = &refusal{http.StatusBadRequest, "User is unavailable."}
	errDuplicate     = &refusal{http.StatusBadRequest, "There already is a phone call with this call_ID."}
	errNoCall        = &refusal{http.StatusNotFound, "Couldn't find phone call."}
	errNoSuchUser    = &refusal{http.StatusNotFound, "Couldn't find user."}
	errSelfFavorite  = &refusal{http.StatusBadRequest, "Cannot make yourself a favorite user."}
	errSelfBlock     = &refusal{http.StatusBadRequest, "You cannot block yourself."}
	errSelfMute      = &refusal{http.StatusBadRequest, "You cannot mute yourself."}
	errBlockLevel    = &refusal{http.StatusBadRequest, "Cannot block accounts of moderators, THO, or admins"}
	errBlockNobody   = &refusal{http.StatusBadRequest, "Can't find a user with the userID specified in the :userID parameter"}
	errProfile       = &refusal{http.StatusNotFound, "profile is not available"}
	errUserIDOther   = &refusal{http.StatusBadRequest, "Request parameter userID is missing."}
	errNoUserID      = &refusal{http.StatusBadRequest, "No user ID in request."}
	errUserIDMissing = &refusal{http.StatusBadRequest, "UserID parameter missing or invalid UUID"}
	errSearchShort   = &refusal{http.StatusBadRequest, "User search requires at least 2 valid characters in search string.."}
	errFavorers      = &refusal{http.StatusBadRequest, "favorers is true or false."}
)

// errorBody is the document of a refusal.
type errorBody struct {
	Error  bool   `json:"error"`
	Status int    `json:"status"`
	Reason string `json:"reason"`
}

const jsonType = "application/json; charset=utf-8"

// refuse writes a refusal.
func refuse(w http.ResponseWriter, r *refusal) {
	writeJSON(w, r.status, errorBody{true, r.status, r.reason})
}

// refuseFor is refuse with the time after which to try again.
func refuseFor(w http.ResponseWriter, r *refusal, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	refuse(w, r)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text := encode(body)
	h := w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may be gone
}

// encode writes JSON as it is usual elsewhere: without a line end, and with <,
// > and & as they are.
func encode(body any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(body) // of our own types: there is nothing that cannot be written
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
