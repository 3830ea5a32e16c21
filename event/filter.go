package event

import (
	"slices"
	"strings"
)

// Filter says which events are wanted. Lists that are empty are any.
type Filter struct {
	Types  []string // "leg.ringing", "leg.*"
	Kinds  []string
	Agents []string // addresses, or their users
	Users  []string // likewise, of any party or the agent
	CallID string
	Tags   map[string]string // all of them
	See    func(*Call) bool  // whether who asks may see a call; nil: all
	Stored bool              // only events that are kept: none of those that streams have earlier
	DTMF   bool              // leg.dtmf, too: see Subscription.Digits
}

// match reports whether an event is wanted.
func (f *Filter) match(e *Event) bool {
	if !f.typed(e.Type) || !f.ofCall(e) {
		return false
	}
	c := e.Data.Call
	if c == nil {
		return true
	}
	return (len(f.Kinds) == 0 || slices.Contains(f.Kinds, string(c.Kind))) &&
		(len(f.Agents) == 0 || anyAddress(f.Agents, c.Agent)) &&
		(len(f.Users) == 0 || isParty(c, f.Users)) &&
		hasTags(c, f.Tags) && (f.See == nil || f.See(c))
}

// ofCall reports whether an event is of the call that is wanted, if it is one only.
// stream.gap and the system's events are everybody's, but for those who follow one
// call; what is of neither a call nor of all goes to those who filter nothing.
func (f *Filter) ofCall(e *Event) bool {
	if e.Data.CallID != nil {
		return f.CallID == "" || f.CallID == *e.Data.CallID
	}
	if f.CallID != "" {
		return false
	}
	if e.Type == StreamGap || strings.HasPrefix(string(e.Type), "system.") {
		return true
	}
	return len(f.Kinds)+len(f.Agents)+len(f.Users)+len(f.Tags) == 0 && f.See == nil
}

func (f *Filter) typed(t Type) bool {
	if len(f.Types) == 0 {
		return true
	}
	for _, want := range f.Types {
		if MatchType(want, t) {
			return true
		}
	}
	return false
}

// MatchType reports whether a type is the one that a filter names, or one of "leg.*".
func MatchType(want string, t Type) bool {
	if group, all := strings.CutSuffix(want, "*"); all {
		return group == "" || strings.HasSuffix(group, ".") && strings.HasPrefix(string(t), group)
	}
	return want == string(t)
}

// anyAddress reports whether one of the wanted ones is an address, or its user.
func anyAddress(wanted []string, address string) bool {
	for _, w := range wanted {
		if w == address || len(w) < len(address) && address[:len(w)] == w && address[len(w)] == '@' {
			return true
		}
	}
	return false
}

func isParty(c *Call, users []string) bool {
	if anyAddress(users, c.Agent) {
		return true
	}
	for i := range c.Legs {
		if anyAddress(users, c.Legs[i].Address) {
			return true
		}
	}
	return false
}

func hasTags(c *Call, tags map[string]string) bool {
	for name, want := range tags {
		if got, ok := c.Tags[name]; !ok || got != want {
			return false
		}
	}
	return true
}

// userOf is the user of an address.
func userOf(address string) string {
	user, _, _ := strings.Cut(address, "@")
	return user
}
