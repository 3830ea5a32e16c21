package restauth

import "fmt"

// Policy says who gets in on a listener.
type Policy int

const (
	// PIN lets everybody in by Digest with the agent's PIN, and on TLS by
	// Basic too.
	PIN Policy = iota
	// TrustedOrPIN is PIN, but trusted peers need none.
	TrustedOrPIN
	// TrustedOnly lets trusted peers in and nobody else.
	TrustedOnly
)

// ParsePolicy reads trusted-or-pin, pin or trusted.
func ParsePolicy(text string) (Policy, error) {
	for _, p := range []Policy{PIN, TrustedOrPIN, TrustedOnly} {
		if text == p.String() {
			return p, nil
		}
	}
	return PIN, fmt.Errorf("auth: %.40q: want trusted-or-pin, pin or trusted", text)
}

// String is the policy as ParsePolicy reads it.
func (p Policy) String() string {
	switch p {
	case PIN:
		return "pin"
	case TrustedOrPIN:
		return "trusted-or-pin"
	case TrustedOnly:
		return "trusted"
	}
	return fmt.Sprintf("Policy(%d)", int(p))
}
