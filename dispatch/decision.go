package dispatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sipxrest/internal/webhook"
)

// Action is what becomes of a call.
type Action uint8

// The actions.
const (
	Answer   Action = iota + 1 // the caller is connected to a room
	Hangup                     // refused
	Transfer                   // connected to somebody
)

func (a Action) String() string {
	return [...]string{"none", "answer", "hangup", "transfer"}[a]
}

// Media is what a decision asks of the caller's media.
type Media uint8

// What may be asked.
const (
	MediaAny     Media = iota
	MediaSecure        // RTP/SAVP in the offer, or 488
	MediaInClear       // none in the offer, or 488
)

const (
	defaultRing = 30 * time.Second
	leastRing   = time.Second
	mostRing    = 10 * time.Minute
	maxPIN      = 32 // digits
)

// A Decision is what a webhook returns, or what a static rule says.
type Decision struct {
	Action Action

	// Of Answer.
	Room string         // its name
	PIN  webhook.Secret // what the caller must enter; empty: nothing

	// Of Hangup.
	Code   int    // the final response; 0: 603
	Reason string // its phrase; empty: the usual one

	// Of Transfer.
	To          string // a SIP, SIPS or tel URI
	Number      bool   // To was a number alone: it goes to the gateway, if there is one
	DisplayName string // of To
	// Ring is how long the target rings, that of a room too.
	Ring time.Duration

	Media Media

	// What is attached to the call's record and its events.
	Metadata   string
	Attributes map[string]string
	RoomPreset string
	RoomConfig json.RawMessage
	Krisp      json.RawMessage // true or false
}

// known are the fields of a webhook's response, by their plain names.
var known = map[string]bool{
	"dispatchaction": true, "roomname": true, "pin": true, "metadata": true, "attributes": true, "roompreset": true, "roomconfig": true,
	"krispenabled": true, "mediaencryption": true, "rejectstatuscode": true, "rejectreason": true, "transferto": true,
	"destinationname": true, "transferringingtimeout": true,
}

// ParseDecision reads the JSON object that a webhook returns. Fields may be
// written as room_name or roomName; unknown ones are ignored.
func ParseDecision(data []byte) (Decision, error) {
	f, err := readFields(data)
	if err != nil {
		return Decision{}, err
	}
	return f.decision()
}

func (f fields) decision() (d Decision, err error) {
	action, err := f.text("dispatchaction", "dispatch_action")
	if err != nil {
		return d, err
	}
	if d.Room, err = f.text("roomname", "room_name"); err != nil {
		return d, err
	}
	if d.Action, err = parseAction(action); err != nil {
		return d, err
	}
	if d.Action == 0 {
		if d.Room == "" {
			return d, errors.New("dispatch_action: missing: write answer, hangup or transfer")
		}
		d.Action = Answer
	}
	if err := f.attached(&d); err != nil {
		return d, err
	}
	switch d.Action {
	case Answer:
		err = f.answer(&d)
	case Hangup:
		err = f.hangup(&d)
	case Transfer:
		err = f.transfer(&d)
	}
	return d, err
}

func parseAction(text string) (Action, error) {
	name := strings.ToLower(strings.TrimSpace(text))
	switch strings.TrimPrefix(name, "action_") {
	case "":
		return 0, nil
	case "accept", "answer":
		return Answer, nil
	case "reject", "hangup":
		return Hangup, nil
	case "transfer":
		return Transfer, nil
	}
	return 0, fmt.Errorf("dispatch_action: %.64q is unknown: write answer, hangup or transfer", text)
}

func (f fields) answer(d *Decision) error {
	pin, err := f.scalarText("pin", "pin")
	switch {
	case err != nil:
		return errors.New("pin: digits are expected") // without the value
	case d.Room == "":
		return errors.New("room_name: missing: name the room to connect the caller to")
	case len(pin) > maxPIN || strings.Trim(pin, "0123456789*") != "":
		return fmt.Errorf("pin: up to %d digits are expected: only those can be entered", maxPIN)
	}
	d.PIN = webhook.Secret(pin)
	if d.Ring, err = f.span("transferringingtimeout", "transfer_ringing_timeout", leastRing, mostRing); err != nil {
		return err
	}
	if d.Media, err = f.media(); err != nil {
		return err
	}
	return nil
}

func (f fields) media() (Media, error) {
	text, err := f.scalarText("mediaencryption", "media_encryption")
	if err != nil {
		return 0, err
	}
	name := strings.ToUpper(strings.TrimSpace(text))
	switch strings.TrimPrefix(name, "SIP_MEDIA_ENCRYPT_") {
	case "", "ALLOW", "1": // by the numbers of LiveKit's SIPMediaEncryption, too
		return MediaAny, nil
	case "REQUIRE", "SRTP", "2":
		return MediaSecure, nil
	case "DISABLE", "0":
		return MediaInClear, nil
	}
	return 0, fmt.Errorf("media_encryption: %.64q is unknown: write SRTP, SIP_MEDIA_ENCRYPT_REQUIRE, DISABLE or SIP_MEDIA_ENCRYPT_ALLOW", text)
}

func (f fields) hangup(d *Decision) error {
	text, err := f.scalarText("rejectstatuscode", "reject_status_code")
	if err != nil {
		return err
	}
	if text != "" {
		if d.Code, err = parseCode(text); err != nil {
			return fmt.Errorf("reject_status_code: %w", err)
		}
	}
	if d.Code == 0 {
		d.Code = codeDecline
	}
	reason, err := f.text("rejectreason", "reject_reason")
	d.Reason = phrase(reason)
	return err
}

func (f fields) transfer(d *Decision) error {
	to, err := f.text("transferto", "transfer_to")
	if err == nil {
		if number, ok := bareNumber(to); ok && strings.HasPrefix(number, "+") {
			to, d.Number = "tel:"+number, true
		}
		d.To, err = parseTarget(to)
		if err != nil {
			err = fmt.Errorf("transfer_to: %w", err)
		}
	}
	if err != nil {
		return err
	}
	name, err := f.text("destinationname", "destination_name")
	if err != nil {
		return err
	}
	d.DisplayName = phrase(name)
	if d.Ring, err = f.span("transferringingtimeout", "transfer_ringing_timeout", leastRing, mostRing); err != nil {
		return err
	}
	if d.Ring == 0 {
		d.Ring = defaultRing
	}
	d.Media, err = f.media()
	return err
}

// attached reads what is passed on only.
func (f fields) attached(d *Decision) (err error) {
	d.Metadata = f.loose("metadata")
	if d.Attributes, err = f.texts("attributes", "attributes"); err != nil {
		return err
	}
	d.RoomPreset = f.loose("roompreset")
	d.RoomConfig = bytes.Clone(f["roomconfig"])
	switch raw := string(f["krispenabled"]); raw {
	case "":
	case "true", "false", `"true"`, `"false"`:
		d.Krisp = json.RawMessage(strings.Trim(raw, `"`))
	default:
		return fmt.Errorf("krisp_enabled: %.40s is neither true nor false", raw)
	}
	return nil
}

// ring is how long the target of the call may ring.
func (d *Decision) ring() time.Duration {
	if d.Ring == 0 {
		return defaultRing
	}
	return d.Ring
}

// allows reports whether the caller's offer has the media that the decision
// asks for.
func (m Media) allows(offer []byte) bool {
	if m == MediaAny {
		return true
	}
	secure, clear := false, false
	for line := range bytes.SplitSeq(offer, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if !bytes.HasPrefix(line, []byte("m=")) {
			continue
		}
		parts := bytes.Fields(line)
		if len(parts) < 3 || len(parts[1]) > 0 && string(parts[1]) == "0" {
			continue // a stream that is not offered
		}
		if bytes.Contains(bytes.ToUpper(parts[2]), []byte("RTP/SAVP")) {
			secure = true
		} else {
			clear = true
		}
	}
	if m == MediaSecure {
		return secure && !clear
	}
	return !secure
}
