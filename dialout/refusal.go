package dialout

import (
	"errors"
	"net/http"
	"time"

	"sipxrest/sipflow"
	"sipxrest/talk"
)

// A refusal says why a call is not made. Talk shows the message to its user.
type refusal struct {
	code    string        // for programs
	message string        // for people
	status  int           // HTTP
	wait    time.Duration // before it is worth trying again; 0: some seconds
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// Codes of refusals.
const (
	badNumber     = "invalid_number"
	badCaller     = "invalid_caller"
	badOptions    = "invalid_options"
	badTarget     = "invalid_target"
	badRoom       = "invalid_roomid"
	badRequest    = "invalid_request"
	notAllowed    = "not_allowed"
	notVerified   = "not_verified"
	alreadyCalled = "already_calling"
	tooMany       = "too_many_calls"
	stopping      = "shutting_down"
	callOver      = "call_ended"
	noGateway     = "gateway_unreachable"
	noNextcloud   = "nextcloud_unreachable"
	internalError = "internal_error"
	noSuchCall    = "no_such_call"
	noSuchUser    = "no_such_user"
	notJSON       = "unsupported_media_type"
	tooLarge      = "too_large"
	badMethod     = "method_not_allowed"
	tooManyWatch  = "too_many_subscribers"
	noNode        = "node_unavailable"
	noCluster     = "cluster_unavailable"
)

// refusals are the message and status of each code unless more is known.
var refusals = map[string]refusal{
	badNumber:     {message: "This is not a valid phone number. Write it with its country code, for example +49 30 1234567.", status: http.StatusBadRequest},
	badCaller:     {message: "The caller's number is not valid: it may hold only digits, after a +.", status: http.StatusBadRequest},
	badOptions:    {message: "The options of the call are not valid.", status: http.StatusBadRequest},
	badTarget:     {message: "There is nothing to connect the phone to: give options.target, a SIP URI.", status: http.StatusBadRequest},
	badRoom:       {message: "The conversation's token is not valid.", status: http.StatusBadRequest},
	badRequest:    {message: `The request is not valid: send {"type":"dialout","dialout":{"number":"+49301234567"}}.`, status: http.StatusBadRequest},
	notAllowed:    {message: "Calling this number is not allowed.", status: http.StatusForbidden},
	notVerified:   {message: "The number could not be verified.", status: http.StatusForbidden},
	alreadyCalled: {message: "This number is being called already.", status: http.StatusConflict},
	tooMany:       {message: "Too many calls at once. Try again later.", status: http.StatusServiceUnavailable},
	stopping:      {message: "The phone service is being restarted. Try again in a minute.", status: http.StatusServiceUnavailable},
	callOver:      {message: "The call of the conversation has ended.", status: http.StatusConflict},
	noGateway:     {message: "The telephone network cannot be reached. Try again later.", status: http.StatusBadGateway},
	noNextcloud:   {message: "The number could not be verified: Nextcloud did not answer as it should, or not in time.", status: http.StatusBadGateway},
	internalError: {message: "This did not work because of an internal error.", status: http.StatusInternalServerError},
	noSuchCall:    {message: "There is no such call, or it is over.", status: http.StatusNotFound},
	noSuchUser:    {message: "There is no such user: name the agent in the query, ?agent=201.", status: http.StatusForbidden},
	notJSON:       {message: "Send the request as application/json.", status: http.StatusUnsupportedMediaType},
	tooLarge:      {message: "The request is too large.", status: http.StatusRequestEntityTooLarge},
	badMethod:     {message: "The method is not allowed here.", status: http.StatusMethodNotAllowed},
	noNode:        {message: "The node that has the call does not answer; another one takes it over. Try again later.", status: http.StatusServiceUnavailable},
	noCluster:     {message: "This node does not reach the store of its cluster. Try again later, or at another node.", status: http.StatusServiceUnavailable},
	tooManyWatch:  {message: "Too many subscribers. Try again later.", status: http.StatusTooManyRequests},
}

// refuse makes a refusal; an empty message is the usual one of code.
func refuse(code, message string) *refusal {
	r := refusals[code]
	r.code = code
	if message != "" {
		r.message = message
	}
	return &r
}

// tooManyOfUser is for limits of one user.
func tooManyOfUser() *refusal {
	r := refuse(tooMany, "You have too many calls at once. End one, or try again later.")
	r.status = http.StatusTooManyRequests
	return r
}

// doomRefusal says why a call is not begun that was hung up before.
func doomRefusal(why error) *refusal {
	if errors.Is(why, sipflow.ErrDraining) {
		return refuse(stopping, "")
	}
	return refuse(callOver, "")
}

// verifyRefusal says why Nextcloud did not verify a call.
func verifyRefusal(err error) *refusal {
	var answer *talk.BackendError
	if !errors.As(err, &answer) {
		return refuse(noNextcloud, "")
	}
	switch answer.Code {
	case http.StatusUnauthorized:
		return refuse(notVerified, "The number could not be verified: the phone service and Nextcloud do not have the same secret. Please tell the administrator.")
	case http.StatusNotFound:
		return refuse(notVerified, "The number could not be verified: it is not among the participants of this conversation any more.")
	case http.StatusNotImplemented:
		return refuse(notVerified, "The number could not be verified: calling phones is switched off in Nextcloud's settings for Talk.")
	case http.StatusTooManyRequests:
		return refuse(noNextcloud, "The number could not be verified: Nextcloud refuses more requests for now.")
	}
	if answer.Code >= 500 {
		return refuse(noNextcloud, "The number could not be verified: Nextcloud has a problem.")
	}
	return refuse(notVerified, "")
}

// placeRefusal says why the switchboard did not place a call.
func placeRefusal(err error) *refusal {
	var limit *sipflow.LimitError
	switch {
	case errors.As(err, &limit):
		r := refuse(tooMany, "")
		if limit.OfAgent() {
			r = tooManyOfUser()
		}
		r.wait = limit.Wait
		return r
	case errors.Is(err, sipflow.ErrForbidden):
		return refuse(notAllowed, "")
	case errors.Is(err, sipflow.ErrTooManyCalls):
		return refuse(tooMany, "")
	case errors.Is(err, sipflow.ErrDraining):
		return refuse(stopping, "")
	case errors.Is(err, sipflow.ErrNotOwner):
		return refuse(noCluster, "")
	case errors.Is(err, sipflow.ErrForgotten):
		return refuse(noNode, "")
	case errors.Is(err, sipflow.ErrUnreachable):
		return refuse(noGateway, "")
	}
	return refuse(internalError, "")
}
