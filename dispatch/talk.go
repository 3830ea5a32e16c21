package dispatch

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"sipxrest/sipflow/uri"
)

const (
	// talkScheme begins a target in Nextcloud Talk: nothing follows for a menu, the
	// number of a conversation, or talkDirect.
	talkScheme = "talk:"
	talkDirect = "direct"
)

// talkToken is the number of a conversation that can be entered by phone.
var talkToken = regexp.MustCompile(`^[0-9]{4,30}$`)

// A TalkCall is a caller whose target is in Nextcloud Talk.
type TalkCall struct {
	// Token is the conversation. Empty: the caller is asked for it, or he reaches the
	// user who has the called number, with Direct.
	Token  string
	Direct bool
	// Backend and Language are those of the rule: the address of a Nextcloud, and in
	// what language it is spoken to the caller. Empty: the only one, the usual one.
	Backend, Language string
	// Trunk is the name of the trunk that the call comes by; empty for a user's.
	Trunk string
	// Caller is who calls, in the international form where that is known; empty for
	// one who does not want to be known. Vouched: the trunk says so.
	Caller  string
	Vouched bool
	// Called is the number that was called, in the same form.
	Called string
}

// parseTalk reads a target in Talk. Its error does not repeat what it was given: that
// gets into logs, and a conversation's number is half of the way in.
func parseTalk(rest string) (string, error) {
	if rest = strings.ToLower(rest); rest == "" || rest == talkDirect || talkToken.MatchString(rest) {
		return talkScheme + rest, nil
	}
	return "", errors.New("talk: may be followed by the number of a conversation (4 to 30 digits), by direct, or by nothing")
}

// shown is a target as logs and events may have it: without the number of a
// conversation.
func shown(target string) string {
	if rest, ok := strings.CutPrefix(target, talkScheme); ok && rest != "" && rest != talkDirect {
		return talkScheme + "***"
	}
	return target
}

// checkTalk says why a rule cannot have a caller taken to a target in Talk. fromAnswer
// says that a webhook has named it.
//
// A rule lets its webhook do so by naming the Nextcloud. Another's server shall not be
// able to open conversations by phone where the operator thought of calls to SIP
// addresses only. It cannot name the Nextcloud itself, nor get around a PIN.
func (st *state) checkTalk(r *Rule, target string, fromAnswer bool) error {
	switch {
	case !strings.HasPrefix(target, talkScheme):
		return nil
	case r.Redirect:
		return fmt.Errorf("transfer_to: %s is no SIP address that a caller could be redirected to: leave out mode: redirect", shown(target))
	case st.cfg.CheckTalk == nil:
		return fmt.Errorf("%s: nobody can call into Nextcloud Talk: write dialout.servers and dialout.audio", shown(target))
	case fromAnswer && r.Backend == "":
		return fmt.Errorf("transfer_to: %s: the webhook of a rule may name it only if the rule names the Nextcloud: write backend", shown(target))
	}
	return st.cfg.CheckTalk(r.Backend, r.Language)
}

// talkCall is the call for Talk, if its target is there.
func (c *call) talkCall(target string) (t TalkCall, ok bool) {
	rest, ok := strings.CutPrefix(target, talkScheme)
	if !ok {
		return t, false
	}
	t = TalkCall{Backend: c.rule.Backend, Language: c.rule.Language, Trunk: c.Trunk}
	if rest == talkDirect {
		t.Direct = true
	} else {
		t.Token = rest
	}
	n := numbering{c.rule.DefaultRegion, c.st.table.digits}
	t.Called = n.normal(c.ToUser)
	t.Caller, t.Vouched = c.number(n)
	return t, true
}

// number is that of the caller, "" if he does not want it to be known (RFC 3323). A
// trunk vouches for what it asserts (RFC 3325); From is what anybody writes.
func (c *call) number(n numbering) (number string, vouched bool) {
	for _, v := range c.Header("Privacy") {
		for word := range strings.FieldsFuncSeq(strings.ToLower(v), func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
			if word == "id" || word == "user" || word == "header" {
				return "", false
			}
		}
	}
	if c.Trunk != "" {
		for _, v := range c.Header("P-Asserted-Identity") {
			if number := n.normal(uri.ParseNameAddr([]byte(v)).User); isNumber(number) {
				return number, true
			}
		}
	}
	if number := n.normal(c.FromUser); isNumber(number) {
		return number, false
	}
	return "", false
}

// isNumber reports whether a normal text is a telephone number.
func isNumber(text string) bool {
	digits := strings.TrimPrefix(text, "+")
	return digits != "" && len(text) <= maxCaller && strings.Trim(digits, "0123456789") == ""
}

// maxCaller bounds a caller's number, in bytes: a whole one has 15 digits (ITU-T E.164),
// and one of the house may have a prefix.
const maxCaller = 32

// checkBackend says what is wrong with a rule's backend and language, where plan has
// not said it.
func (r *Rule) checkBackend(cfg *Config) error {
	switch {
	case r.Backend == "" && (r.Language == "" || cfg.CheckLanguage != nil): // see checkLanguage
		return nil
	case cfg.CheckTalk == nil:
		return errors.New("nobody can call into Nextcloud Talk: write dialout.servers and dialout.audio, or leave backend and language out")
	case r.Static == nil:
		return cfg.CheckTalk(r.Backend, r.Language)
	case r.leadsToTalk(cfg): // plan has checked it
		return nil
	}
	return errors.New("backend and language are for targets in Nextcloud Talk: write transfer_to: \"talk:\", or leave them out")
}

// checkLanguage says what is wrong with the language in which a rule asks for PINs.
func (r *Rule) checkLanguage(cfg *Config) error {
	if r.Backend != "" || r.Language == "" || cfg.CheckLanguage == nil || r.leadsToTalk(cfg) {
		return nil
	}
	return cfg.CheckLanguage(r.Language)
}

// leadsToTalk reports whether a rule that decides by itself has a target in Talk.
func (r *Rule) leadsToTalk(cfg *Config) bool {
	if r.Static == nil {
		return false
	}
	for _, d := range []*Decision{r.Static, &r.Fallback} {
		if strings.HasPrefix(d.To, talkScheme) || d.Action == Answer && strings.HasPrefix(cfg.Rooms[d.Room], talkScheme) {
			return true
		}
	}
	return false
}

// LeadIntoTalk counts the rules by which callers may get into Nextcloud Talk: by their
// own targets, or those of a webhook that may name one.
func LeadIntoTalk(cfg Config) (n int) {
	st, err := newState(cfg, nil)
	if err != nil {
		return 0
	}
	for _, r := range st.table.rules {
		if r.leadsToTalk(&cfg) || r.Static == nil && (r.Backend != "" || strings.HasPrefix(r.Fallback.To, talkScheme)) {
			n++
		}
	}
	return n
}
