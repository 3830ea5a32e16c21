package sfu

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"
)

// secretTime is how long credentials made of a secret are good for. A TURN
// server asks for them again during a call, so it is longer than calls are.
const secretTime = 24 * time.Hour

// check reports what is wrong with a server.
func (s *ICEServer) check() error {
	if len(s.URLs) == 0 {
		return errors.New("urls: none")
	}
	for _, u := range s.URLs {
		uri, err := stun.ParseURI(u)
		if err != nil {
			return fmt.Errorf("urls: %q is no address of a STUN or TURN server", u)
		}
		turn := uri.Scheme == stun.SchemeTypeTURN || uri.Scheme == stun.SchemeTypeTURNS
		switch {
		case turn && s.Secret == "" && (s.Username == "" || s.Credential == ""):
			return fmt.Errorf("%s needs username and credential, or secret", u)
		case turn && s.Secret != "" && s.Credential != "":
			return fmt.Errorf("%s has both secret and credential", u)
		}
	}
	return nil
}

// server is what pion is given for one connection.
func (s *ICEServer) server(now time.Time) webrtc.ICEServer {
	out := webrtc.ICEServer{URLs: s.URLs}
	switch {
	case s.Secret != "":
		out.Username, out.Credential = s.credentials(now)
	case s.Username != "":
		out.Username, out.Credential = s.Username, s.Credential
	}
	return out
}

// credentials are those that coturn makes of its static-auth-secret: the user
// is a time, with a name behind it, the password its HMAC.
func (s *ICEServer) credentials(now time.Time) (user, password string) {
	user = strconv.FormatInt(now.Add(secretTime).Unix(), 10)
	if s.Username != "" {
		user += ":" + s.Username
	}
	mac := hmac.New(sha1.New, []byte(s.Secret))
	mac.Write([]byte(user))
	return user, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// String has no secret in it.
func (s ICEServer) String() string { return strings.Join(s.URLs, " ") }
