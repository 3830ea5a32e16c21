package dialout

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"sipxrest/internal/fault"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

// Config says how calls are made. Check says what is wrong with it.
type Config struct {
	// Servers are the signaling servers of Nextcloud Talk. Without any, only
	// clients of the JSON resource make calls.
	Servers []talk.Server
	// TLS is for the signaling servers and Nextclouds. Optional.
	TLS *tls.Config
	// Dial opens their TCP connections. Default: a net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// UserAgent is what we call ourselves there. Default "sipxrest".
	UserAgent string

	Gateway Gateway
	// RoomTarget is the SIP URI that a phone out of a Talk conversation is joined
	// to; {token} and {roomid} stand for the conversation's token. Required with
	// Servers, unless phones have Audio.
	RoomTarget string
	// Audio has phones out of Talk conversations be in the conversation itself, in
	// place of RoomTarget. New needs its Rooms and Ports, Check does not.
	Audio *Audio
	// Target is the SIP URI, or the user of Domain, that a phone is joined to
	// when a client of the JSON resource names none. Optional.
	Target string
	// Agent is the user on whose behalf Talk's calls are made. His SIP secret is
	// used for challenges on the way to RoomTarget, and he must be allowed to call
	// the number. Optional.
	Agent string
	// Domain is that of targets without one.
	Domain string
	// RingTimeout is how long a phone rings. Default 60 s.
	RingTimeout time.Duration
	// Country is the ISO 3166 code of the country ("DE") whose numbers may be
	// given without +. Empty: there is none.
	Country string
	// DTMF is the type of the INFO that carries a digit. Default DTMFRelay.
	DTMF   DTMF
	Limits Limits

	// Dir is the folder in which calls in progress are noted, for the case of a
	// crash. It is made if it is not there. Required with Servers.
	Dir string
	// Allow says by an error that an agent ("" for Talk without Agent) may not
	// have target called, a number or SIP URI. The error is shown to the user.
	// nil allows everything.
	Allow func(agent, target string) error
	// Calls is told of each call; nil: nobody is.
	Calls Calls
	// Elsewhere knows the calls of other nodes; nil: this is a single node.
	Elsewhere Elsewhere
	// All and Users are the calls of other nodes, in all (by the name "") and by user;
	// nil: there are no others.
	All, Users sipflow.Counts
}

// Gateway is the way to the telephone network.
type Gateway struct {
	// URI is where INVITEs for numbers go, such as sip:gw.example;transport=tls.
	// Required.
	URI string
	// User and Secret are the credentials for its challenges, for Realm if that is
	// set. Optional.
	User, Secret, Realm string
	// DefaultNumber is the caller of calls that name none. Optional.
	DefaultNumber string
	// Domain is the host in From. Default: the host of URI.
	Domain string
}

// DTMF is the media type of an INFO with a digit.
type DTMF string

const (
	DTMFRelay DTMF = "relay" // application/dtmf-relay
	DTMFPlain DTMF = "plain" // application/dtmf
)

// Limits bound what runs at once.
type Limits struct {
	Calls int // in all; default 100
	Room  int // in one Talk conversation; default 20
	User  int // of one user of the JSON resource; default 10
	Rooms int // Talk conversations with phones, with Audio; default 50
}

// defaults completes c.
func (c *Config) defaults() {
	set := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	set(&c.Limits.Calls, 100)
	set(&c.Limits.Room, 20)
	set(&c.Limits.User, 10)
	set(&c.Limits.Rooms, 50)
	if c.RingTimeout == 0 {
		c.RingTimeout = 60 * time.Second
	}
	if c.DTMF == "" {
		c.DTMF = DTMFRelay
	}
	if c.UserAgent == "" {
		c.UserAgent = "sipxrest"
	}
	c.Country = strings.ToUpper(c.Country)
}

// Check says what is wrong with c. Its error joins one *fault.Fault for each mistake.
// Secrets are not in it.
func (c Config) Check() error {
	c.defaults()
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, &fault.Fault{Key: key, Err: fmt.Errorf(format, args...)})
	}
	if len(c.Servers) > 0 {
		if err := (talk.Config{Servers: c.Servers}).Check(); err != nil {
			for _, e := range unjoin(err) {
				errs = append(errs, &fault.Fault{Key: "servers", Err: e})
			}
		}
		switch {
		case c.RoomTarget == "" && c.Audio == nil:
			wrong("room-target", "missing: write dialout.audio, so that phones are in the conversation itself, or the SIP URI of a conversation's conference, such as sip:{token}@conference.example")
		case c.RoomTarget != "" && c.Audio != nil:
			wrong("room-target", "dialout.audio has phones be in the conversation itself, which needs no conference: write one of the two")
		}
		if c.Dir == "" {
			wrong("data-dir", "missing: calls in progress are noted there")
		}
	}
	if c.RoomTarget != "" {
		if !strings.Contains(c.RoomTarget, "{token}") && !strings.Contains(c.RoomTarget, "{roomid}") {
			wrong("room-target", "has neither {token} nor {roomid}: all conversations would meet in one conference")
		} else if _, err := targetURI(roomTarget(c.RoomTarget, "1234"), ""); err != nil {
			wrong("room-target", "%w: write it as sip:{token}@conference.example", err)
		}
	}
	if c.Target != "" {
		if _, err := targetURI(c.Target, c.Domain); err != nil {
			wrong("target", "%w", err)
		}
	}
	if c.Audio != nil && len(c.Servers) == 0 {
		wrong("servers", "missing: dialout.audio is for calls out of Talk's conversations: write its signaling servers")
	}
	switch {
	case c.Gateway.URI == "":
		wrong("gateway.uri", "missing: write the SIP URI of the way to the telephone network, such as sip:gateway.example;transport=tls")
	case strings.Contains(c.Gateway.URI, "@"): // it may hold a password
		wrong("gateway.uri", "holds a user: write it without, as sip:gateway.example, and the user as gateway.user, the password as gateway.secret")
	case !gatewayURI.MatchString(c.Gateway.URI):
		wrong("gateway.uri", "%.80q is not the SIP URI of a server: write sip:gateway.example:5060, with ;transport=tcp or tls if it is not UDP", c.Gateway.URI)
	}
	if c.Gateway.Secret != "" && c.Gateway.User == "" {
		wrong("gateway.user", "missing: a secret is nobody's without")
	}
	if strings.ContainsFunc(c.Gateway.User+c.Gateway.Realm, isControl) {
		wrong("gateway.user", "user or realm holds a control character")
	}
	if d := c.Gateway.Domain; d != "" && !resolve.IsName(d) {
		wrong("gateway.domain", "%.80q is not a host name", d)
	}
	if n := c.Gateway.DefaultNumber; n != "" && !callerPattern.MatchString(n) {
		wrong("gateway.default-number", "%.40q is not a number: write digits, after a + for the international form", n)
	}
	if c.Country != "" && !phonenumbers.GetSupportedRegions()[c.Country] {
		wrong("country", "%.20q is not a country: write two letters, such as DE or US", c.Country)
	}
	if c.DTMF != DTMFRelay && c.DTMF != DTMFPlain {
		wrong("dtmf", "%.20q is unknown: write relay or plain", c.DTMF)
	}
	if c.RingTimeout < time.Second || c.RingTimeout > 10*time.Minute {
		wrong("ring-timeout", "%v is not between 1s and 10m", c.RingTimeout)
	}
	for _, limit := range []struct {
		key string
		n   int
	}{{"limits.calls", c.Limits.Calls}, {"limits.room", c.Limits.Room}, {"limits.user", c.Limits.User}, {"limits.rooms", c.Limits.Rooms}} {
		if limit.n < 1 || limit.n > 100_000 {
			wrong(limit.key, "%d is not between 1 and 100000", limit.n)
		}
	}
	return errors.Join(errs...)
}

func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
