package natsengine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"sipxrest/cluster"
)

// Codes of JetStream's errors.
const (
	codeStreamNotFound  = 10059
	codeNoMessage       = 10037
	codeWrongLast       = 10071 // a condition was not met
	codeInProcess       = 10164 // another write with, or to, the same subject is under way
	codeIncompleteBatch = 10176 // its leader has changed, or messages got lost
	codeManyBatches     = 10210
	codeNameExists      = 10058
	codeNoReplicas      = 10074 // the server is alone
	codeConsumerGone    = 10014
	codeNoPeers         = 10005 // fewer servers are known than replicas are wanted
	codeUnavailable     = 10008 // most servers are away
	codeNoResources     = 10023 // of the cluster
	codeNoRoom          = 10047 // on the server's disk
)

// An apiError is JetStream's refusal.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("the store refuses: %s (%d)", e.Description, e.ErrCode)
}

// refusal returns JetStream's code in an error, 0 for none.
func refusal(err error) int {
	var a *apiError
	if errors.As(err, &a) {
		return a.ErrCode
	}
	return 0
}

// askTime is how long an answer of JetStream's is waited for by who sets no limit.
const askTime = 5 * time.Second

// ask sends a request of JetStream's and reads the answer into answer, which has a
// field of the type *apiError for refusals.
func (e *Engine) ask(ctx context.Context, subject string, request any, answer interface{ refused() *apiError }) error {
	var data []byte
	if request != nil {
		var err error
		if data, err = json.Marshal(request); err != nil {
			return err
		}
	}
	if _, bounded := ctx.Deadline(); !bounded { // while servers choose who leads them, some questions are lost
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, askTime)
		defer stop()
	}
	m, err := e.nc.RequestWithContext(ctx, subject, data)
	if err != nil {
		return e.failure(err)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("the store answers no JSON: %w", err)
	}
	if r := answer.refused(); r != nil {
		if r.ErrCode == codeStreamNotFound {
			return cluster.ErrNoStream
		}
		return r
	}
	return nil
}

// failure puts the client library's words into ours.
func (e *Engine) failure(err error) error {
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrDisconnected):
		return ErrAway
	}
	return err
}

// refusable is what answers of JetStream have in common.
type refusable struct {
	Refusal *apiError `json:"error"`
}

func (r *refusable) refused() *apiError { return r.Refusal }
