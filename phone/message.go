package phone

import "time"

// header is how a user is shown to others.
type header struct {
	ID          ID     `json:"userID"`
	Username    string `json:"username"`
	DisplayName string `json:"displayName,omitempty"`
	Image       string `json:"userImage,omitempty"`
	Pronoun     string `json:"preferredPronoun,omitempty"`
}

func (u *User) header() *header {
	return &header{u.ID, u.Username, u.DisplayName, u.Image, u.Pronoun}
}

// address is where a phone that calls on the direct path can be reached.
type address struct {
	V4 string `json:"ipV4Addr,omitempty"`
	V6 string `json:"ipV6Addr,omitempty"`
}

// notification is a message to all devices of a user. Its type is an object
// with one key, an enumeration of the clients' language.
type notification struct {
	Type          map[string]struct{} `json:"type"`
	Info          string              `json:"info"`
	ContentID     ID                  `json:"contentID"`
	Caller        *header             `json:"caller,omitempty"`
	CallerAddress *address            `json:"callerAddress,omitempty"`
}

func incoming(c *call) []byte {
	return encode(notification{Type: map[string]struct{}{"incomingPhoneCall": {}}, Info: c.caller.Username, ContentID: c.id,
		Caller: c.caller.header(), CallerAddress: c.address})
}

func answered(call ID) []byte {
	return encode(notification{Type: map[string]struct{}{"phoneCallAnswered": {}}, ContentID: call})
}

func ended(call ID) []byte {
	return encode(notification{Type: map[string]struct{}{"phoneCallEnded": {}}, ContentID: call})
}

// startFrame tells both phones that the call is up, and since when.
func startFrame(now time.Time) []byte {
	return encode(struct {
		Start string `json:"phonecallStartTime"`
	}{milliseconds(now)})
}
