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
	"strings"
	"time"
)

const (
	// VerifyTime bounds Backend.VerifyDialout.
	VerifyTime = 8 * time.Second
	// RejectTime bounds Backend.RejectDialout.
	RejectTime = 15 * time.Second
	// maxAnswer bounds a response of Nextcloud that is read.
	maxAnswer = 64 << 10
)

// Backend is a Nextcloud, asked by HTTP. Its addresses are built from its
// configured URL only; redirections are not followed.
type Backend struct {
	base, secret, agent string
	client              *http.Client
	known               remembered
}

// newBackend is for a configuration that was checked.
func newBackend(b BackendConfig, cfg Config) *Backend {
	base, _ := backendURL(b.URL)
	return &Backend{base: base, secret: b.SIPSecret, agent: cfg.agent(), client: cfg.httpClient(false)}
}

// URL is the base address, with a slash at the end.
func (b *Backend) URL() string { return b.base }

// is reports whether somebody else's address is that of this Nextcloud.
func (b *Backend) is(address string) bool {
	theirs, err := backendURL(address)
	return err == nil && canonical(theirs) == canonical(b.base)
}

// canonical leaves out what does not distinguish two addresses that backendURL
// returned.
func canonical(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	return u.String()
}

// Participant is what Nextcloud says of a verified dial-out.
type Participant struct {
	Token       string `json:"token"`
	AttendeeID  int64  `json:"attendeeId"`
	ActorType   string `json:"actorType"`
	ActorID     string `json:"actorId"`
	DisplayName string `json:"displayName"`
	// Permissions are those of the participant in the call; nil before Talk 13.
	Permissions *looseInt `json:"permissions"`
}

// MayPublish reports whether the participant may be heard.
func (p *Participant) MayPublish() bool {
	return p.Permissions == nil || *p.Permissions&mayPublish != 0
}

// BackendError is a response of Nextcloud that is not 200.
type BackendError struct {
	Op   string // verify-dialout, rejected-dialout, or one of dial-in
	Code int    // HTTP status
}

func (e *BackendError) Error() string {
	why := ""
	dialin := e.Op != verifyDialout && e.Op != rejectedDialout
	switch {
	case e.Code == http.StatusBadRequest && e.Op == verifyDialout:
		why = "the number or the participant is another one"
	case e.Code == http.StatusBadRequest && e.Op == openDialin:
		why = "the conversation takes nobody without a PIN"
	case e.Code == http.StatusBadRequest && dialin:
		why = http.StatusText(e.Code)
	case e.Code == http.StatusBadRequest:
		why = "it knows of no such call"
	case e.Code == http.StatusUnauthorized:
		why = "the checksum is wrong: sip-secret must be sip_bridge_shared_secret of Talk"
	case e.Code == http.StatusNotFound && e.Op == directDialin:
		why = "nobody has the number, Talk is older than version 21, or the backend's url is wrong"
	case e.Code == http.StatusNotFound && dialin:
		why = "it has no such conversation or PIN, or the backend's url is wrong"
	case e.Code == http.StatusNotFound:
		why = "it has no such conversation or participant, or the backend's url is wrong"
	case e.Code == http.StatusNotImplemented && dialin:
		why = "SIP is not enabled in Talk: sip_bridge_shared_secret and sip_bridge_dialin_info must be set"
	case e.Code == http.StatusNotImplemented:
		why = "SIP dial-out is not enabled in Talk: sip_bridge_shared_secret, sip_bridge_dialin_info and sip_dialout must be set"
	case e.Code == http.StatusTooManyRequests && dialin:
		why = "too many wrong conversations, PINs or checksums: it refuses our address for now"
	case e.Code == http.StatusTooManyRequests:
		why = "too many wrong checksums: it refuses our address for now"
	case e.Code >= 300 && e.Code < 400:
		why = "it redirects, which is not followed: give the backend's url as it is"
	default:
		why = http.StatusText(e.Code)
	}
	return fmt.Sprintf("nextcloud: %s: %d: %s", e.Op, e.Code, why)
}

const (
	verifyDialout   = "verify-dialout"
	rejectedDialout = "rejected-dialout"
)

// VerifyDialout asks whether a number may be called out of a room, and checks
// that the response is about that room, attendee and actor. It takes at most
// VerifyTime. A refusal is a *BackendError.
func (b *Backend) VerifyDialout(ctx context.Context, roomID, number string, o Options) (Participant, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, VerifyTime, fmt.Errorf("nextcloud: %s: no answer within %v", verifyDialout, VerifyTime))
	defer cancel()
	var v struct {
		OCS struct {
			Data Participant `json:"data"`
		} `json:"ocs"`
	}
	answer, err := b.ask(ctx, http.MethodPost, roomID, verifyDialout, object{"number": number, "options": o.raw()})
	if err != nil {
		return Participant{}, err
	}
	p := &v.OCS.Data
	switch {
	case !read(answer, &v):
		return Participant{}, fmt.Errorf("nextcloud: %s: the answer is not OCS JSON", verifyDialout)
	case p.Token != roomID, p.AttendeeID != o.AttendeeID, p.ActorID != o.ActorID, p.ActorType != o.ActorType:
		return Participant{}, fmt.Errorf("nextcloud: %s: the answer is about another participant", verifyDialout)
	}
	return *p, nil
}

// RejectDialout says that a call which was accepted was never established, so
// that it may be tried again. Nextcloud notes the call only after it has got
// the acceptance: 400 is tried again for some seconds, and so is what went
// wrong on the way. It takes at most RejectTime.
func (b *Backend) RejectDialout(ctx context.Context, roomID, callID string, o Options) error {
	ctx, cancel := context.WithTimeoutCause(ctx, RejectTime, fmt.Errorf("nextcloud: %s: not done within %v", rejectedDialout, RejectTime))
	defer cancel()
	var err error
	for _, wait := range []time.Duration{0, 200 * time.Millisecond, 400 * time.Millisecond, 700 * time.Millisecond, time.Second, time.Second} {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, context.Cause(ctx))
		}
		_, err = b.ask(ctx, http.MethodDelete, roomID, rejectedDialout, object{"callId": callID, "options": o.raw()})
		var refused *BackendError
		again := !errors.As(err, &refused) || refused.Code == http.StatusBadRequest || refused.Code >= 500 && refused.Code != http.StatusNotImplemented
		if err == nil || !again {
			return err
		}
	}
	return err
}

func (o Options) raw() json.RawMessage {
	if len(o.Raw) == 0 {
		return json.RawMessage("{}")
	}
	return o.Raw
}

// ask asks one of the two questions that Talk has for SIP bridges.
func (b *Backend) ask(ctx context.Context, method, roomID, op string, body object) (json.RawMessage, error) {
	if !roomToken.MatchString(roomID) {
		return nil, fmt.Errorf("nextcloud: %s: the conversation has no valid token", op)
	}
	request, err := http.NewRequestWithContext(ctx, method, b.base+"ocs/v2.php/apps/spreed/api/v4/room/"+roomID+"/"+op, bytes.NewReader(encode(body)))
	if err != nil {
		return nil, err
	}
	b.sign(request, roomID)
	return b.do(request, op)
}

// sign makes a request one of a SIP bridge, which Nextcloud knows by a checksum
// over what is signed. It is not over the body, whatever Talk's documentation says.
func (b *Backend) sign(request *http.Request, signed string) {
	random := nonce()
	for name, value := range map[string]string{
		"OCS-APIRequest": "true", "Accept": "application/json", "Content-Type": "application/json", "User-Agent": b.agent,
		"Talk-SIPBridge-Random":   random,
		"Talk-SIPBridge-Checksum": checksum(b.secret, random, signed),
	} {
		request.Header.Set(name, value)
	}
}

// do is the body of a 200.
func (b *Backend) do(request *http.Request, op string) (json.RawMessage, error) {
	answer, err := b.client.Do(request)
	if err != nil {
		if ctx := request.Context(); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("nextcloud: %s: %w", op, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, &BackendError{Op: op, Code: answer.StatusCode}
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil && request.Context().Err() != nil:
		return nil, context.Cause(request.Context())
	case err != nil:
		return nil, fmt.Errorf("nextcloud: %s: %w", op, err)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("nextcloud: %s: the answer is longer than %d bytes", op, maxAnswer)
	}
	return data, nil
}
