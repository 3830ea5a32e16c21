package phone

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sipxrest/resolve"
	"sipxrest/sipflow/uri"
)

// maxAddress is the bytes of a SIP address at most.
const maxAddress = 255

// ParseSIPAddress reads the SIP address of a user's phone, sip:user@host or
// sip:user@host:port, and writes it anew: the host in lower case.
func ParseSIPAddress(text string) (string, error) {
	fail := func(why string) (string, error) {
		return "", fmt.Errorf("SIP address %.80q: %s: write sip:201@example.com", text, why)
	}
	scheme, rest, _ := strings.Cut(text, ":")
	user, host, ok := strings.Cut(rest, "@")
	switch {
	case !strings.EqualFold(scheme, "sip") || !ok || user == "":
		return fail("no SIP URI with a user")
	case len(text) > maxAddress:
		return fail("too long")
	case string(uri.AppendUser(nil, user)) != user:
		return fail("the user has characters that have to be escaped")
	}
	port := ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		n, err := strconv.ParseUint(host[i+1:], 10, 16)
		if err != nil || n == 0 {
			return fail("the port is no number from 1 to 65535")
		}
		host, port = host[:i], ":"+strconv.FormatUint(n, 10)
	}
	if !resolve.IsHost(host) {
		return fail("the host is neither a name nor an address")
	}
	return "sip:" + user + "@" + strings.ToLower(host) + port, nil
}

// userOf is the user of a SIP address, aorOf the address without its scheme.
func userOf(address string) string {
	user, _, _ := strings.Cut(aorOf(address), "@")
	return user
}

func aorOf(address string) string { return strings.TrimPrefix(address, "sip:") }

// guestID is the ID of a caller who is no user: the same for the same SIP
// address, everywhere (RFC 9562 §5.5).
func guestID(address string) (id ID) {
	space := [16]byte{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8} // of URLs
	sum := sha1.Sum(append(space[:], address...))
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ErrAddressTaken says that another user has the SIP address.
var ErrAddressTaken = errors.New("another user has that SIP address")

// SetSIP gives a user the SIP address of his phone; empty takes it away.
func (s *Store) SetSIP(ctx context.Context, id ID, address string) error {
	if address != "" {
		var err error
		if address, err = ParseSIPAddress(address); err != nil {
			return err
		}
	}
	err := s.changeOne(ctx, `UPDATE users SET sip = ? WHERE id = ?`, address, id.String())
	if err != nil { // not before: another process may take it meanwhile
		if other, e := s.WithSIP(ctx, address); e == nil && other.ID != id {
			return fmt.Errorf("%s: %w: %s", address, ErrAddressTaken, other.Username)
		}
	}
	return err
}

// WithSIP returns the user with a SIP address.
func (s *Store) WithSIP(ctx context.Context, address string) (User, error) {
	return scanUser(s.bySIP.QueryRowContext(ctx, address).Scan)
}
