package schema

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/beevik/etree"
)

// ValidUser is one user of a sipXecs 4.2 installation.
type ValidUser struct {
	Identity    string // address of record, "201@example.com"
	UserName    string // "201"
	Aliases     []string
	DisplayName string // "" when the user has none
	PINToken    string // hex MD5(user:realm:PIN) in release 4.2, the clear PIN later
	PassToken   string // hex MD5(user:realm:SIP password)
}

// LogValue keeps the secrets out of every log.
func (u ValidUser) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String keeps the secrets out of every formatted text.
func (u ValidUser) String() string { return "user " + u.UserName + " [redacted]" }

// GoString is String, for %#v.
func (u ValidUser) GoString() string { return u.String() }

// ReadValidUsers reads validusers.xml, the user list of sipXecs 4.2: a
// <validusers> of <user> elements. It also takes the <items type="validusers">
// of <item> elements that other sipX tables use. Aliases may stand without
// <aliases> around them, and an identity may have "sip:" in front. A user
// without userName gets that of the identity. Errors name the line and the
// element.
func ReadValidUsers(r io.Reader) ([]ValidUser, error) {
	var users []ValidUser
	err := readChildren(r, []string{"validusers", "items"}, func(el *etree.Element, _ int) error {
		if el.Tag != "user" && el.Tag != "item" {
			return nil
		}
		u, err := validUser(el)
		if err != nil {
			return fmt.Errorf("<%s> %d: %w", el.Tag, len(users)+1, err)
		}
		users = append(users, u)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("validusers.xml: %w", err)
	}
	return users, nil
}

func validUser(el *etree.Element) (u ValidUser, err error) {
	for _, field := range el.ChildElements() {
		switch field.Tag {
		case "identity":
			u.Identity = strings.TrimPrefix(text(field), "sip:")
		case "userName":
			u.UserName = text(field)
		case "displayName":
			u.DisplayName = text(field)
		case "alias":
			u.Aliases = appendAlias(u.Aliases, field)
		case "aliases":
			for _, alias := range field.SelectElements("alias") {
				u.Aliases = appendAlias(u.Aliases, alias)
			}
		case "pintoken":
			u.PINToken = text(field)
		case "passtoken":
			u.PassToken = text(field)
		}
	}
	if u.UserName == "" {
		u.UserName, _, _ = strings.Cut(u.Identity, "@")
	}
	if u.UserName == "" {
		return u, errors.New("has neither <userName> nor <identity>")
	}
	return u, nil
}

func appendAlias(aliases []string, el *etree.Element) []string {
	if alias := text(el); alias != "" {
		aliases = append(aliases, alias)
	}
	return aliases
}
