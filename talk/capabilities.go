package talk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// capabilitiesTime is how long capabilities of a Nextcloud are not asked again.
	capabilitiesTime = time.Minute
	// maxCapabilities bounds them: those of all its apps come together.
	maxCapabilities = 1 << 20
	capabilities    = "capabilities"
)

// Capabilities are what a Nextcloud's Talk can do, and how it is set up.
type Capabilities struct {
	// Talk is its version, "" if it is not told.
	Talk string
	// Encrypted: browsers encrypt calls end to end, so telephones cannot take part.
	Encrypted bool
	// SIP: dial-in is set up.
	SIP bool
	// DirectDialin: users may have numbers of their own.
	DirectDialin bool
}

// remembered are capabilities that were asked for.
type remembered struct {
	mu sync.Mutex
	Capabilities
	at time.Time // zero: they were not
}

// Capabilities returns those of the Nextcloud, as they were a minute ago at most.
// It takes at most VerifyTime. Errors: ErrUnavailable, a *BackendError as a rule.
func (b *Backend) Capabilities(ctx context.Context) (Capabilities, error) {
	k := &b.known
	k.mu.Lock()
	fresh, is := k.Capabilities, !k.at.IsZero() && time.Since(k.at) < capabilitiesTime
	k.mu.Unlock()
	if is {
		return fresh, nil
	}
	c, err := b.askCapabilities(ctx)
	if err != nil {
		return Capabilities{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Capabilities, k.at = c, time.Now()
	return c, nil
}

// Encrypted reports whether browsers encrypt calls end to end. Errors as
// Capabilities'.
func (b *Backend) Encrypted(ctx context.Context) (bool, error) {
	c, err := b.Capabilities(ctx)
	return c.Encrypted, err
}

func (b *Backend) askCapabilities(ctx context.Context) (c Capabilities, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, VerifyTime, fmt.Errorf("no answer within %v", VerifyTime))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+"ocs/v2.php/cloud/capabilities", nil)
	if err != nil {
		return c, &unavailableError{capabilities, err}
	}
	request.Header.Set("OCS-APIRequest", "true")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", b.agent)
	raw, err := b.fetch(request, capabilities, maxCapabilities)
	if err != nil {
		return c, err
	}
	var v struct {
		OCS struct {
			Data struct {
				Capabilities struct {
					Spreed json.RawMessage `json:"spreed"`
				} `json:"capabilities"`
			} `json:"data"`
		} `json:"ocs"`
	}
	if !read(raw, &v) {
		return c, &unavailableError{capabilities, errors.New("the answer is not OCS JSON")}
	}
	var spreed struct {
		Version  string   `json:"version"`
		Features []string `json:"features"`
		Config   struct {
			Call struct {
				SIP       bool `json:"sip-enabled"`
				Encrypted bool `json:"end-to-end-encryption"`
			} `json:"call"`
		} `json:"config"`
	}
	if len(v.OCS.Data.Capabilities.Spreed) > 0 && !read(v.OCS.Data.Capabilities.Spreed, &spreed) {
		return c, &unavailableError{capabilities, errors.New("what it says of Talk cannot be understood")}
	}
	return Capabilities{Talk: printable(spreed.Version, 32), Encrypted: spreed.Config.Call.Encrypted, SIP: spreed.Config.Call.SIP,
		DirectDialin: slices.Contains(spreed.Features, "sip-direct-dialin")}, nil
}

// AudioError says why telephones cannot be heard by way of a signaling server.
type AudioError struct {
	Missing []string // features
	Version string   // of the server, as it said
}

func (e *AudioError) Error() string {
	if slices.Contains(e.Missing, featureMCU) {
		return fmt.Sprintf("the signaling server (%s) has no media server (mcu): set type = janus in [mcu] of its configuration", e.Version)
	}
	return fmt.Sprintf("the signaling server (%s) is too old for audio: it lacks %s (2.0.2)", e.Version, strings.Join(e.Missing, " and "))
}

// What a signaling server needs so that phones are heard.
const (
	featureMCU    = "mcu"
	featureCodecs = "offer-codecs"
)

// audioError says what keeps phones from being heard, nil for nothing.
func audioError(features []string, version string) error {
	var missing []string
	for _, f := range []string{featureMCU, featureCodecs} {
		if !slices.Contains(features, f) {
			missing = append(missing, f)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &AudioError{Missing: missing, Version: version}
}

// ErrEncrypted is why phones are not heard where Backend.Encrypted is so.
var ErrEncrypted error = encryptedError{}

type encryptedError struct{}

func (encryptedError) Error() string {
	return "Talk encrypts calls end to end: telephones cannot take part in them"
}

// Audio returns why phones cannot be heard by way of the signaling server: an
// *AudioError, ErrAway before there was a connection, nil if they can.
func (s *Session) Audio() error {
	l := s.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.theirs == nil {
		return ErrAway
	}
	return audioError(l.theirs.features, l.theirs.version)
}
