package talk

import (
	"context"
	"time"
)

// VerifyTime bounds Backend.VerifyDialout.
const VerifyTime = 8 * time.Second

// Backend is a Nextcloud, asked by HTTP. Its addresses are built from its
// configured URL only; redirections are not followed.
type Backend struct{}

// URL is the base address, with a slash at the end.
func (b *Backend) URL() string { return "" }

// Participant is what Nextcloud says of a verified dial-out.
type Participant struct {
	Token       string
	AttendeeID  int64
	ActorType   string
	ActorID     string
	DisplayName string
}

// BackendError is an answer of Nextcloud that is not 200.
type BackendError struct {
	Op   string // verify-dialout, rejected-dialout
	Code int    // HTTP status
}

func (e *BackendError) Error() string { return e.Op }

// VerifyDialout asks whether a number may be called out of a room, and checks
// that the answer is about that room, attendee and actor. It takes at most
// VerifyTime. A refusal is a *BackendError.
func (b *Backend) VerifyDialout(ctx context.Context, roomID, number string, o Options) (Participant, error) {
	return Participant{}, nil
}

// RejectDialout says that a call which was accepted was never established, so
// that it may be tried again. Nextcloud notes the call only after it has got
// the acceptance: 400 is tried again for some seconds.
func (b *Backend) RejectDialout(ctx context.Context, roomID, callID string, o Options) error {
	return nil
}
