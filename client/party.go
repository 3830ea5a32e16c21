package client

import "encoding/json"

// Party is whom a call joins: an address, or a number of the telephone network that goes
// by the gateway. One of the two is set.
type Party struct {
	Address string // user, alias, number, user@host or SIP URI
	Number  string // such as +49301234567
}

// Address returns the party of a user, alias, number, user@host or SIP URI.
func Address(address string) Party { return Party{Address: address} }

// Telephone returns the party of a number of the telephone network.
func Telephone(number string) Party { return Party{Number: number} }

// Anonymous is a [CreateCall.Caller] that shows the called telephone no number.
var Anonymous = Party{Address: "anonymous"}

type number struct {
	Number string `json:"number"`
}

// MarshalJSON writes a number as an object, and an address as a string.
func (p Party) MarshalJSON() ([]byte, error) {
	if p.Number != "" {
		return json.Marshal(number{p.Number})
	}
	return json.Marshal(p.Address)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Party) UnmarshalJSON(text []byte) error {
	*p = Party{}
	if len(text) > 0 && text[0] == '{' {
		var n number
		err := json.Unmarshal(text, &n)
		p.Number = n.Number
		return err
	}
	return json.Unmarshal(text, &p.Address)
}
