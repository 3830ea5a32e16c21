package restauth

import (
	"log/slog"

	"sipxrest/internal/digest"
)

// User is one user of the domain. Users are shared between requests and are
// never changed once they are loaded.
type User struct {
	Name        string   // user name, the user part of the identity as a rule
	Identity    string   // address of record without scheme, "201@example.com"
	DisplayName string   // "" when there is none
	Aliases     []string // other names of the same user
	Policy      string   // whom the user may dial, a name of package policy; "" for what is usual

	SIPPassword  string // SIP password in the clear, or ""
	SIPHA1       string // hex MD5(user:realm:SIP password), or ""
	SIPHA1SHA256 string // hex SHA-256(user:realm:SIP password), or ""

	pin pin
}

// LogValue keeps the secrets out of every log.
func (u *User) LogValue() slog.Value {
	if u == nil {
		return slog.StringValue("none")
	}
	return slog.GroupValue(slog.String("user", u.Name), slog.String("secrets", "[redacted]"))
}

// String keeps the secrets out of every formatted text.
func (u *User) String() string {
	if u == nil {
		return "no user"
	}
	return "user " + u.Name + " [redacted]"
}

// GoString is String, for %#v.
func (u *User) GoString() string { return u.String() }

// HasPIN reports whether the user can prove who he is.
func (u *User) HasPIN() bool { return u.pin != pin{} }

// ClearPIN returns the PIN where the files hold it in the clear, else "". It must
// not be logged.
func (u *User) ClearPIN() string { return u.pin.clear }

// HasSIPSecret reports whether the user has credentials for a SIP proxy's
// digest challenge.
func (u *User) HasSIPSecret() bool {
	return u.SIPPassword != "" || u.SIPHA1 != "" || u.SIPHA1SHA256 != ""
}

// SIP returns the user's credentials for a SIP proxy's digest challenge.
func (u *User) SIP() digest.Credentials {
	return digest.Credentials{Username: u.Name, Password: u.SIPPassword, HA1: u.SIPHA1, HA1SHA256: u.SIPHA1SHA256}
}

// pin is what is stored of a user's PIN. The zero value is a user without
// one, whom no PIN matches.
type pin struct {
	clear  string
	md5    string // hex MD5(user:realm:PIN), lower case
	sha256 string // the same by SHA-256
	crypt  string // a hash as htpasswd makes it: bcrypt, apr1 or {SHA}; for Basic only
}

// LogValue keeps the PIN out of every log.
func (pin) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String keeps the PIN out of every formatted text.
func (pin) String() string { return "[redacted]" }

// GoString is String, for %#v.
func (pin) GoString() string { return "[redacted]" }

// withoutEmpty drops the hash of the empty PIN, which some tools write for a
// user without a PIN and which would let anybody in.
func (p pin) withoutEmpty(user, realm string) pin {
	if p.md5 != "" && p.md5 == digest.MD5.HA1(user, realm, "") {
		p.md5 = ""
	}
	if p.sha256 != "" && p.sha256 == digest.SHA256.HA1(user, realm, "") {
		p.sha256 = ""
	}
	return p
}

// digests reports whether the user can prove who he is by Digest.
func (u *User) digests() bool { return u.can(digest.MD5) || u.can(digest.SHA256) }

// can reports whether the user's PIN can be checked by alg.
func (u *User) can(alg digest.Algorithm) bool {
	stored := u.pin.md5
	if alg == digest.SHA256 {
		stored = u.pin.sha256
	}
	return stored != "" || u.pin.clear != ""
}

// ha1 returns the hash of username, realm and PIN for the username text that
// a client used; a stored hash is that of the user name whatever the text.
// Without a user or a PIN the hash is computed from decoy and matches
// nothing; it costs the same, so that neither the response nor its time tell
// whether the user exists.
func (u *User) ha1(alg digest.Algorithm, username, realm, decoy string) string {
	secret, stored := decoy, ""
	if u != nil {
		switch {
		case u.pin.clear != "":
			secret = u.pin.clear
		case alg == digest.SHA256:
			stored = u.pin.sha256
		default:
			stored = u.pin.md5
		}
	}
	computed := alg.HA1(username, realm, secret)
	if stored != "" {
		return stored
	}
	return computed
}
