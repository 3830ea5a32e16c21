package talk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// What came of a question to Nextcloud: each is found by errors.Is.
var (
	// ErrNotFound: there is no such conversation, nobody has the PIN, or nobody the
	// number.
	ErrNotFound = errors.New("not found")
	// ErrChecksum: Talk's secret is another one.
	ErrChecksum = errors.New("wrong checksum")
	// ErrGuesses: too much that is wrong came from our address, so Nextcloud answers
	// none of its questions for now.
	ErrGuesses = errors.New("too many attempts")
	// ErrNoSIP: SIP is switched off in Talk, or dialling in without a PIN is for the
	// conversation.
	ErrNoSIP = errors.New("SIP is off")
	// ErrUnavailable: Nextcloud cannot be reached, has a problem, or is none.
	ErrUnavailable = errors.New("unavailable")
)

// Is reports whether the response is what target stands for.
func (e *BackendError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Code == http.StatusNotFound
	case ErrChecksum:
		return e.Code == http.StatusUnauthorized
	case ErrGuesses:
		return e.Code == http.StatusTooManyRequests
	case ErrNoSIP:
		return e.Code == http.StatusNotImplemented || e.Code == http.StatusBadRequest && e.Op == openDialin
	case ErrUnavailable:
		return e.Code >= 500 && e.Code != http.StatusNotImplemented || e.Code >= 300 && e.Code < 400
	}
	return false
}

// unavailableError is why nothing that counts came of a question.
type unavailableError struct {
	op  string
	err error
}

func (e *unavailableError) Error() string   { return "nextcloud: " + e.op + ": " + e.err.Error() }
func (e *unavailableError) Unwrap() []error { return []error{ErrUnavailable, e.err} }

// RoomInfo is a conversation as Nextcloud describes it to a bridge.
type RoomInfo struct {
	Token string
	Name  string // as bridges are told it, "" for none
	// SIP says whether phones may dial in, and whether without a PIN.
	SIP SIPAccess
	// Lobby: only who IgnoresLobby gets in. Nextcloud does not see to that.
	Lobby bool
	// HasCall: somebody is in the call. It is false for a Caller whom the lobby
	// holds.
	HasCall bool
	// Recording: the call is being recorded, or that is about to begin. Consent:
	// whoever joins has to agree to be recorded. Nextcloud does not see to that.
	Recording, Consent bool
}

// SIPAccess says who may dial in to a conversation.
type SIPAccess int

const (
	SIPOff   SIPAccess = iota
	SIPByPIN           // participants, by their PINs
	SIPOpen            // everybody
)

// Caller is a participant who dials in.
type Caller struct {
	Room       RoomInfo
	AttendeeID int64
	// ActorType and ActorID are for Phone.Options.
	ActorType, ActorID string
	// Name is what the participant may be shown by, "" if there is nothing: Talk
	// tells bridges the name of the conversation only, so it is that of the account.
	Name string
	// Member: it is one who was invited, by an account or an address, and has a PIN.
	// Otherwise it is a guest that Nextcloud made for the call.
	Member       bool
	Moderator    bool
	IgnoresLobby bool
	MayPublish   bool // be heard
	MayStart     bool // begin a call; not known (false) while the lobby holds him
}

// roomAnswer is a conversation as Nextcloud describes it. There may be the PIN of
// the participant, so it is not to be logged.
type roomAnswer struct {
	Token            string    `json:"token"`
	DisplayName      string    `json:"displayName"`
	SIPEnabled       looseInt  `json:"sipEnabled"`
	LobbyState       looseInt  `json:"lobbyState"`
	HasCall          bool      `json:"hasCall"`
	CallRecording    looseInt  `json:"callRecording"`
	RecordingConsent looseInt  `json:"recordingConsent"`
	ActorType        string    `json:"actorType"`
	ActorID          string    `json:"actorId"`
	AttendeeID       int64     `json:"attendeeId"`
	ParticipantType  looseInt  `json:"participantType"`
	Permissions      *looseInt `json:"permissions"`
	CanStartCall     bool      `json:"canStartCall"`
}

// looseInt is a small number, which some versions of Talk write as a boolean.
type looseInt int

func (n *looseInt) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "false", "null":
		*n = 0
		return nil
	case "true":
		*n = 1
		return nil
	}
	return json.Unmarshal(data, (*int)(n))
}

// Bits of a participant's permissions in Talk.
const (
	mayIgnoreLobby = 8
	mayPublish     = 16
)

// moderator reports whether a type of participant is one: the owner, a moderator,
// a guest who was made one.
func moderator(participantType int) bool {
	return participantType == 1 || participantType == 2 || participantType == 6
}

// room is the conversation as others read it.
func (a *roomAnswer) room() RoomInfo {
	i := RoomInfo{Token: a.Token, Name: printable(a.DisplayName, maxName), Lobby: a.LobbyState != 0, HasCall: a.HasCall,
		// 1 and 2 are recordings with and without video, 3 and 4 such that begin, 5 is
		// one that has failed.
		Recording: a.CallRecording >= 1 && a.CallRecording <= 4, Consent: a.RecordingConsent == 1}
	if a.SIPEnabled == 1 || a.SIPEnabled == 2 {
		i.SIP = SIPAccess(a.SIPEnabled)
	}
	return i
}

// caller is the participant whom the answer is about.
func (a *roomAnswer) caller(member bool) Caller {
	c := Caller{Room: a.room(), AttendeeID: a.AttendeeID, ActorType: a.ActorType, ActorID: a.ActorID, Member: member,
		Moderator: moderator(int(a.ParticipantType)), MayPublish: true, MayStart: a.CanStartCall}
	if a.Permissions != nil { // Talk has them since version 13
		c.MayPublish = *a.Permissions&mayPublish != 0
		c.IgnoresLobby = *a.Permissions&mayIgnoreLobby != 0
	}
	c.IgnoresLobby = c.IgnoresLobby || c.Moderator
	if c.ActorType == "users" && !madeUp.MatchString(c.ActorID) {
		c.Name = printable(c.ActorID, maxName)
	}
	return c
}

// madeUp is the name of an account that no human knows: directories have such.
var madeUp = regexp.MustCompile(`^[0-9A-Fa-f]{8}-[0-9A-Fa-f-]{27}$|^[0-9a-f]{32,}$`)

const (
	readRoom     = "room"
	verifyDialin = "verify-dialin"
	pinDialin    = "pin"
	openDialin   = "open-dial-in"
	directDialin = "direct-dial-in"

	// maxName bounds a name of Nextcloud's, in bytes.
	maxName = 200
	// maxCaller bounds what direct dial-in makes the conversation's name.
	maxCaller = 64
)

var (
	pinPattern    = regexp.MustCompile(`^[0-9]{1,32}$`)
	numberPattern = regexp.MustCompile(`^[1-9][0-9]{1,31}$`)
)

// Room returns what a conversation is. Another spelling of its token than digits
// is ErrNotFound, and Nextcloud is not asked: there is none that a phone can name.
// It takes at most VerifyTime. Errors: those above, a *BackendError as a rule.
// Nextcloud counts wrong tokens against our address.
func (b *Backend) Room(ctx context.Context, token string) (RoomInfo, error) {
	a, err := b.roomAnswer(ctx, http.MethodGet, "room/"+token, token, token, readRoom, nil)
	if err != nil {
		return RoomInfo{}, err
	}
	return a.room(), nil
}

// VerifyDialin returns the participant of a conversation who has a PIN:
// ErrNotFound if nobody has it. Otherwise as Room.
func (b *Backend) VerifyDialin(ctx context.Context, token, pin string) (Caller, error) {
	if !pinPattern.MatchString(pin) {
		return Caller{}, &BackendError{Op: verifyDialin, Code: http.StatusNotFound}
	}
	a, err := b.roomAnswer(ctx, http.MethodPost, "room/"+token+"/"+verifyDialin, token, token, verifyDialin, object{"pin": pin})
	var none *noRouteError
	if errors.As(err, &none) { // as Talk before version 18 has it
		a, err = b.roomAnswer(ctx, http.MethodGet, "room/"+token+"/pin/"+pin, token, token, pinDialin, nil)
	}
	if err != nil {
		return Caller{}, err
	}
	return a.caller(true), nil
}

// OpenDialin makes a guest of a caller without a PIN: ErrNoSIP where SIP is not
// SIPOpen. Otherwise as Room.
func (b *Backend) OpenDialin(ctx context.Context, token string) (Caller, error) {
	a, err := b.roomAnswer(ctx, http.MethodPost, "room/"+token+"/"+openDialin, token, token, openDialin, object{})
	if err != nil {
		return Caller{}, err
	}
	return a.caller(false), nil
}

// DirectDialin makes a conversation of the user whose number was called, with a
// guest for the caller: ErrNotFound if nobody has the number. called is E.164,
// with + or without, and caller is what the conversation is named after. It is in
// Talk since version 21 (Capabilities.DirectDialin).
func (b *Backend) DirectDialin(ctx context.Context, called, caller string) (Caller, error) {
	// Talk keeps its numbers without +, and compares them as text.
	number := strings.TrimLeft(called, "+0")
	if !numberPattern.MatchString(number) {
		return Caller{}, &BackendError{Op: directDialin, Code: http.StatusNotFound}
	}
	a, err := b.roomAnswer(ctx, http.MethodPost, "room/"+directDialin, "", number, directDialin,
		object{"phoneNumber": number, "caller": printable(strings.TrimPrefix(caller, "+"), maxCaller)})
	if err != nil {
		return Caller{}, err
	}
	return a.caller(false), nil
}

// roomAnswer asks one of the questions whose answer is a conversation. signed is
// what its checksum is over. token is that of the conversation, empty for one that
// is yet to be made.
func (b *Backend) roomAnswer(ctx context.Context, method, path, token, signed, op string, body object) (*roomAnswer, error) {
	if token != "" && !roomToken.MatchString(token) || token == "" && op != directDialin {
		return nil, &BackendError{Op: op, Code: http.StatusNotFound}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, VerifyTime, fmt.Errorf("no answer within %v", VerifyTime))
	defer cancel()
	var data []byte
	if body != nil {
		data = encode(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, b.base+"ocs/v2.php/apps/spreed/api/v4/"+path, bytes.NewReader(data))
	if err != nil {
		return nil, &unavailableError{op, errors.New("its address cannot be asked")} // err has the PIN
	}
	b.sign(request, signed)
	raw, err := b.fetch(request, op, maxAnswer)
	if err != nil {
		return nil, err
	}
	var v struct {
		OCS struct {
			Data json.RawMessage `json:"data"`
		} `json:"ocs"`
	}
	a := new(roomAnswer)
	switch {
	case !read(raw, &v) || !read(v.OCS.Data, a):
		return nil, &unavailableError{op, errors.New("the answer is not OCS JSON")}
	case token != "" && a.Token != token:
		return nil, &unavailableError{op, errors.New("the answer is about another conversation")}
	case !roomToken.MatchString(a.Token):
		return nil, &unavailableError{op, errors.New("the answer is about a conversation without a valid token")}
	case op != readRoom && (a.ActorType == "" || a.ActorID == "" || len(a.ActorType) > maxID || len(a.ActorID) > maxID):
		return nil, &unavailableError{op, errors.New("the answer names no participant")}
	}
	return a, nil
}

// noRouteError is the response of a Nextcloud that does not know the question.
type noRouteError struct{ *BackendError }

func (e *noRouteError) Unwrap() error { return e.BackendError }

// noRoute is the OCS status of that (a wrong PIN's is 404).
const noRoute = 998

// fetch is the body of a 200. Its errors have neither an address nor what came:
// both may hold a PIN.
func (b *Backend) fetch(request *http.Request, op string, most int64) (json.RawMessage, error) {
	answer, err := b.client.Do(request)
	if err != nil {
		if ctx := request.Context(); ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		var address *url.Error
		if errors.As(err, &address) {
			err = address.Err
		}
		return nil, &unavailableError{op, err}
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	if answer.StatusCode != http.StatusOK {
		refused := &BackendError{Op: op, Code: answer.StatusCode}
		var v struct {
			OCS struct {
				Meta struct {
					StatusCode int `json:"statuscode"`
				} `json:"meta"`
			} `json:"ocs"`
		}
		if answer.StatusCode == http.StatusNotFound && err == nil && read(data, &v) && v.OCS.Meta.StatusCode == noRoute {
			return nil, &noRouteError{refused}
		}
		return nil, refused
	}
	switch {
	case err != nil && request.Context().Err() != nil:
		return nil, &unavailableError{op, context.Cause(request.Context())}
	case err != nil:
		return nil, &unavailableError{op, err}
	case int64(len(data)) > most:
		return nil, &unavailableError{op, fmt.Errorf("the answer is longer than %d bytes", most)}
	}
	return data, nil
}
