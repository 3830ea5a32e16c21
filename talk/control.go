package talk

import "encoding/json"

// Control is what is wanted of a phone.
type Control struct {
	CallID string
	Kind   ControlKind
	// Sender is the public session id of the moderator; "" for Nextcloud itself
	// (the participant was removed: Reason is "disinvited").
	Sender string
	Reason string
	Digit  byte  // DTMF: 0 to 9, * or #
	Mute   Flags // Mute: MutedSpeaking | MutedListening
}

// ControlKind says which fields of a Control count.
type ControlKind int

const (
	HangUp ControlKind = iota + 1
	DTMF
	Mute
)

// receiveControl passes on what moderators of the phone's room want. The
// signaling server delivers what a moderator of any room sends.
func (s *Session) receiveControl(m *message) {
	var v struct {
		Sender    json.RawMessage `json:"sender"`
		Recipient struct {
			Type      string `json:"type"`
			SessionID string `json:"sessionid"`
		} `json:"recipient"`
		Data json.RawMessage `json:"data"`
	}
	if !read(m.Control, &v) || v.Recipient.Type != "session" {
		return
	}
	s.mu.Lock()
	p := s.phones[v.Recipient.SessionID]
	var room *Room
	if p != nil {
		room = s.rooms[p.phone.RoomID]
	}
	s.mu.Unlock()
	if p == nil {
		return // for us, or for a phone that has left
	}
	c, ok := readControl(v.Data)
	if !ok {
		s.log.Debug("a control message was not understood", "call", v.Recipient.SessionID)
		return
	}
	c.CallID = v.Recipient.SessionID
	if len(v.Sender) > 0 && string(v.Sender) != "null" {
		var sender struct {
			Type      string `json:"type"`
			SessionID string `json:"sessionid"`
		}
		if !read(v.Sender, &sender) || sender.Type != "session" || sender.SessionID == "" || room == nil || !room.has(sender.SessionID) {
			s.warn("a control message was refused: its sender is not in the phone's room", "call", c.CallID, "room", Masked(p.phone.RoomID))
			return
		}
		c.Sender = sender.SessionID
	}
	if s.handler.Control != nil {
		s.handler.Control(s, c)
	}
}

// readControl reads the data of a control message, which may be any JSON.
func readControl(data json.RawMessage) (c Control, ok bool) {
	var v struct {
		Type   string          `json:"type"`
		Digit  json.RawMessage `json:"digit"`
		Audio  json.RawMessage `json:"audio"`
		HangUp json.RawMessage `json:"hangup"`
	}
	if !read(data, &v) {
		return c, false
	}
	switch v.Type {
	case "hangup":
		var why struct {
			Reason string `json:"reason"`
		}
		read(v.HangUp, &why)
		return Control{Kind: HangUp, Reason: printable(why.Reason, 64)}, true
	case "dtmf":
		var digit string
		if json.Unmarshal(v.Digit, &digit) != nil || len(digit) != 1 || !isDigit(digit[0]) {
			return c, false
		}
		return Control{Kind: DTMF, Digit: digit[0]}, true
	case "mute":
		var audio int
		if json.Unmarshal(v.Audio, &audio) != nil || len(v.Audio) == 0 || string(v.Audio) == "null" {
			return c, false
		}
		return Control{Kind: Mute, Mute: Flags(audio) & (MutedSpeaking | MutedListening)}, true
	}
	return c, false
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' || b == '*' || b == '#' }
