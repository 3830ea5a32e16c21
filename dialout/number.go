package dialout

import (
	"errors"
	"regexp"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

var (
	// e164 is the international form of a number (ITU-T E.164).
	e164 = regexp.MustCompile(`^\+[1-9][0-9]{1,14}$`)
	// callerPattern is what may be shown as the caller's number.
	callerPattern = regexp.MustCompile(`^\+?[0-9]{1,20}$`)
	roomPattern   = regexp.MustCompile(`^[0-9]{1,32}$`)
	// dialled is what people write as a number.
	dialled = regexp.MustCompile(`^\+?[0-9 ()./-]{1,40}$`)

	gatewayURI  = regexp.MustCompile(`^sips?:` + host + `(:[0-9]{1,5})?(;[A-Za-z0-9-]+(=[A-Za-z0-9.-]+)?)*$`)
	sipURI      = regexp.MustCompile(`^(sips?:)?(` + user + `)@` + host + `(:[0-9]{1,5})?(;[A-Za-z0-9-]+(=[A-Za-z0-9.+-]+)?)*$`)
	userPattern = regexp.MustCompile(`^(` + user + `)$`)
)

const (
	host = `([A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])`
	// user is the user part of a SIP URI without a password (RFC 3261 §25.1), and
	// without escaped control characters: unescaped they could break a line.
	user = `(?:[A-Za-z0-9_.!~*'()&=+$,;?/-]|%(?:[2-689A-Fa-f][0-9A-Fa-f]|7[0-9A-Ea-e])){1,128}`
)

// parseNumber returns a number in its international form. One in a national
// form is taken as dialled in country, if that is set.
func parseNumber(text, country string) (string, *refusal) {
	if strings.HasPrefix(text, " ") { // from a query whose + was not escaped: another number without it
		return "", refuse(badNumber, "The number begins with a blank: was it a +? In a URL that is written %2B.")
	}
	if !dialled.MatchString(text) || !strings.HasPrefix(text, "+") && country == "" {
		return "", refuse(badNumber, "")
	}
	n, err := phonenumbers.Parse(text, country)
	if err != nil || !phonenumbers.IsPossibleNumber(n) {
		return "", refuse(badNumber, "")
	}
	number := phonenumbers.Format(n, phonenumbers.E164)
	// Extensions ("ext. 5") and letters do not get here, but the library changes.
	if !e164.MatchString(number) {
		return "", refuse(badNumber, "")
	}
	return number, nil
}

// displayNumber is a number as people like to read it, as far as it is known.
func displayNumber(number string) string {
	n, err := phonenumbers.Parse(number, "")
	if err != nil {
		return number
	}
	return phonenumbers.Format(n, phonenumbers.INTERNATIONAL)
}

// checkCaller checks the number that is to be shown to the phone.
func checkCaller(caller string, anonymous bool) *refusal {
	switch {
	case caller == "":
		return nil
	case anonymous:
		return refuse(badOptions, "Either a caller or anonymous can be given, not both.")
	case !callerPattern.MatchString(caller):
		// It is not repeated: it may hold line breaks.
		return refuse(badCaller, "")
	}
	return nil
}

// targetURI is the SIP URI of a target: one already, user@host, or a user of
// domain.
func targetURI(text, domain string) (string, error) {
	switch {
	case len(text) > 300:
	case sipURI.MatchString(text):
		if !strings.HasPrefix(text, "sip:") && !strings.HasPrefix(text, "sips:") {
			text = "sip:" + text
		}
		return text, nil
	case domain != "" && userPattern.MatchString(text) && !strings.HasPrefix(text, "sip:") && !strings.ContainsAny(text, ";?/"):
		return "sip:" + text + "@" + domain, nil
	}
	return "", errors.New("not a SIP URI such as sip:conference@pbx.example")
}

// roomTarget fills a conversation's token in.
func roomTarget(template, token string) string {
	return strings.NewReplacer("{token}", token, "{roomid}", token).Replace(template)
}
