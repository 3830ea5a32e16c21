package talk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Config says which signaling servers a Client connects to.
type Config struct {
	// Servers are the signaling servers. In a cluster each node is one: a node
	// asks only the bridges that are connected to it.
	Servers []Server
	// UserAgent is shown in the servers' statistics as name/version. Default
	// "sipxrest".
	UserAgent string
	// TLS is for https and wss, of signaling servers and Nextclouds: RootCAs
	// for authorities of one's own. Optional.
	TLS *tls.Config
	// Dial opens TCP connections. Default: a net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Audio: phones are in the conversations themselves, so each connection to a
	// server that cannot do that is warned of.
	Audio bool
	// Handler is told what happens.
	Handler Handler
}

// Server is one signaling server.
type Server struct {
	// URL is its address as Talk's settings have it: http, https, ws or wss,
	// with or without /spreed at the end.
	URL string
	// Secret is internalsecret in [clients] of the server's configuration.
	Secret string
	// Backends are the Nextclouds whose dial-outs are served by way of it.
	Backends []BackendConfig
}

// BackendConfig is one Nextcloud.
type BackendConfig struct {
	// URL is its base address as the signaling server's [backend] has it: http
	// or https, with the subfolder; the slash at the end is optional.
	URL string
	// SIPSecret is sip_bridge_shared_secret of Talk's settings.
	SIPSecret string
}

// Handler is told what happens. Its functions return at once: they are called
// by the goroutine that reads the connection. Those of one Session come one
// after another, those of its rooms (Room, Again) may come at the same time.
// Empty is told by another goroutine. Each may be nil, Dialout too: requests are
// then refused.
type Handler struct {
	// Dialout is told of a request to call a number. Another goroutine must Accept
	// or Refuse it within AnswerTime.
	Dialout func(*Request)
	// Control is told what a moderator who is in the phone's room, or Nextcloud
	// itself, wants of a phone that AddSession has shown.
	Control func(*Session, Control)
	// Room is told of a room that was joined.
	Room func(*Session, RoomEvent)
	// Media is told what a room's media server says to us: answers, offers,
	// candidates, and errors of what was asked of it.
	Media func(*Room, MediaMessage)
	// Added is told that the participants see a phone that AddSession has sent:
	// Nextcloud has let it into the conversation. It is told of phones of rooms that
	// were joined, and again when the room is joined anew.
	Added func(s *Session, callID string)
	// AddFailed is told that the signaling server did not add a phone session:
	// the call goes on without hang-up, DTMF and mute from Talk. err is a
	// *ServerError.
	AddFailed func(s *Session, callID string, err error)
	// InDoubt is told, before Up, of a phone session when it is open whether
	// Nextcloud knows of it, or of its end. What was sent may have been lost with
	// a connection, or forgotten by the signaling server. It is not added again as
	// long as its session goes on (there might be two then), and it can be removed
	// as any other.
	InDoubt func(*Session, Phone)
	// Up is told that the connection is there, and what is left of the session.
	Up func(*Session, Hello)
	// Again is told of a joined room after Up has told of Renewed, once the
	// signaling server is known to have it: each call of the room that is up is
	// added again, each one that is not over says its status again.
	Again func(s *Session, roomID string)
	// Down is told that the connection was lost or could not be made, once until
	// Up is told again.
	Down func(*Session, error)
}

// Hello says what is left of a session when its connection is there again.
type Hello int

const (
	// First is a Session's first connection.
	First Hello = iota
	// Resumed: all is as it was. What was sent meanwhile has been queued and
	// goes out. Phone sessions must not be added again.
	Resumed
	// Renewed: the signaling server has forgotten the session. Open requests are
	// gone, phone sessions too, and perhaps the rooms. What was queued is dropped
	// but for terminal statuses, and likewise what is sent for a joined room
	// before Handler.Again tells of it: a call notes its status first and sends it
	// then.
	Renewed
)

func (h Hello) String() string {
	return [...]string{"first", "resumed", "renewed"}[h]
}

// Errors of what is sent. Those of the signaling server are *ServerError,
// those of Nextcloud *BackendError.
var (
	// ErrAnswered: the request was accepted or refused before.
	ErrAnswered = errors.New("the request was answered before")
	// ErrLate: AnswerTime is over. The request was refused.
	ErrLate = errors.New("too late to answer the request")
	// ErrGone: the signaling server has forgotten the request.
	ErrGone = errors.New("the signaling server does not know of the request any more")
	// ErrAdded: a phone session of that call is there already.
	ErrAdded = errors.New("the phone session was added before")
	// ErrNoRoom: the signaling server was restarted, or had forgotten us, and may
	// not know of the conversation yet. Handler.Again tells when it does.
	ErrNoRoom = errors.New("the signaling server does not know of the conversation yet")
	// ErrNotAdded: there is no phone session of that call.
	ErrNotAdded = errors.New("no such phone session")
	// ErrBacklog: too much waits to be sent.
	ErrBacklog = errors.New("too much waits to be sent to the signaling server")
	// ErrTooLong: a message would exceed what the signaling server reads.
	ErrTooLong = errors.New("longer than the signaling server reads (64 KiB)")
	// ErrClosed: Serve has returned.
	ErrClosed = errors.New("the signaling client is closed")
)

// ServerError is an error that the signaling server returned.
type ServerError struct {
	Code    string // invalid_token, add_failed, ...
	Message string
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("signaling server: %s: %s", e.Code, e.Message)
}

// Check says what is wrong with c: the field is named as servers[0].url.
func (c Config) Check() error {
	if len(c.Servers) == 0 {
		return errors.New("servers: name at least one signaling server")
	}
	var errs []error
	seen := map[string]bool{}
	for i, s := range c.Servers {
		at := fmt.Sprintf("servers[%d].", i)
		endpoint, err := serverURL(s.URL)
		if err != nil {
			errs = append(errs, fmt.Errorf("%surl: %w", at, err))
		}
		if s.Secret == "" {
			errs = append(errs, fmt.Errorf("%ssecret: give internalsecret of the signaling server's [clients]", at))
		}
		if len(s.Backends) == 0 {
			errs = append(errs, fmt.Errorf("%sbackends: name at least one Nextcloud", at))
		}
		for j, b := range s.Backends {
			at := fmt.Sprintf("%sbackends[%d].", at, j)
			base, err := backendURL(b.URL)
			if err != nil {
				errs = append(errs, fmt.Errorf("%surl: %w", at, err))
			} else if seen[endpoint+" "+base] {
				errs = append(errs, fmt.Errorf("%surl: named twice for this signaling server", at))
			}
			seen[endpoint+" "+base] = true
			if b.SIPSecret == "" {
				errs = append(errs, fmt.Errorf("%ssip-secret: give sip_bridge_shared_secret of Talk", at))
			}
		}
	}
	return errors.Join(errs...)
}

// serverURL is the address of the signaling server's WebSocket.
func serverURL(s string) (string, error) {
	u, err := plainURL(s)
	if err != nil {
		return "", err
	}
	switch u.Scheme {
	case "http", "https", "ws", "wss":
		u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	default:
		return "", errors.New("must begin with https://, wss://, http:// or ws://")
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/spreed") + "/spreed"
	return u.String(), nil
}

// backendURL is Nextcloud's base address with a slash at the end.
func backendURL(s string) (string, error) {
	u, err := plainURL(s)
	if err != nil {
		return "", err
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("must begin with https:// or http://")
	}
	u.Path = strings.TrimRight(u.Path, "/") + "/"
	return u.String(), nil
}

// plainURL refuses what no address of a server has. Its errors do not say what
// it was given: that may hold a password.
func plainURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Hostname() == "", u.Opaque != "":
		return nil, errors.New("not a URL with a host, like https://host/path")
	case u.User != nil:
		return nil, errors.New("must not hold a user or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("must end with the path: no ? or #")
	}
	u.RawPath = ""
	return u, nil
}
