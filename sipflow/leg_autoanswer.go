package sipflow

import "fmt"

// AutoAnswer is how the calling phone is asked to pick up by itself. Vendors
// differ in what they listen to, so an installation chooses what its phones know.
type AutoAnswer uint8

// The ways to ask.
const (
	NoAutoAnswer AutoAnswer = iota
	AnswerMode              // Answer-Mode: Auto (RFC 5373 §4.1)
	CallInfo                // Call-Info: <…>;answer-after=0 (Snom, Grandstream, Yealink)
	AlertInfo               // Alert-Info: <…>;info=alert-autoanswer;delay=0 (Polycom, Aastra, Yealink)
)

// AutoAnswerWords are the ways by name, in the order of the constants.
var AutoAnswerWords = [...]string{"off", "answer-mode", "call-info", "alert-info"}

// ParseAutoAnswer reads one of AutoAnswerWords; "" is "off".
func ParseAutoAnswer(word string) (AutoAnswer, error) {
	for i, w := range AutoAnswerWords {
		if word == w || word == "" {
			return AutoAnswer(i), nil
		}
	}
	return NoAutoAnswer, fmt.Errorf("call.auto-answer %q: want one of %v", word, AutoAnswerWords)
}

// header is the header line that asks.
func (a AutoAnswer) header(agent string) string {
	switch a {
	case AnswerMode:
		return "Answer-Mode: Auto\r\n"
	case CallInfo:
		return "Call-Info: <sip:" + agent + ">;answer-after=0\r\n"
	case AlertInfo:
		return "Alert-Info: <sip:" + agent + ">;info=alert-autoanswer;delay=0\r\n"
	}
	return ""
}
