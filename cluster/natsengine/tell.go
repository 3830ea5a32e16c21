package natsengine

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"sipxrest/cluster"
	"sipxrest/internal/boundary"
)

// Ask is cluster.Engine's.
func (e *Engine) Ask(ctx context.Context, subject string, data []byte) ([]byte, error) {
	m, err := e.nc.RequestWithContext(ctx, subject, data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, cluster.ErrNobody
	case err != nil:
		return nil, e.failure(err)
	}
	return m.Data, nil
}

// Answer is cluster.Engine's.
func (e *Engine) Answer(subject string, f func(data []byte, reply func([]byte))) (stop func()) {
	return e.listen(subject, func(m *nats.Msg) {
		f(m.Data, func(answer []byte) {
			if err := m.Respond(answer); err != nil && e.ctx.Err() == nil {
				e.log.Debug("a question of another node gets no answer", "subject", subject, "error", err)
			}
		})
	})
}

// Tell is cluster.Engine's.
func (e *Engine) Tell(subject string, data []byte) error { return e.sent(e.nc.Publish(subject, data)) }

// Watch is cluster.Engine's.
func (e *Engine) Watch(subject string, f func(subject string, data []byte)) (stop func()) {
	return e.listen(subject, func(m *nats.Msg) { f(m.Subject, m.Data) })
}

// listen has one goroutine call f for the messages of a subject, until stop or
// Close. A subscription outlives connections. Where f panics that costs the message.
func (e *Engine) listen(subject string, f func(*nats.Msg)) (stop func()) {
	sub, err := e.nc.SubscribeSync(subject)
	if err != nil { // only of a connection that was closed, or a subject that is none
		e.log.Error("nothing is heard at a subject", "subject", subject, "error", err)
		return func() {}
	}
	if err := sub.SetPendingLimits(maxPending, maxPendingBytes); err != nil {
		e.log.Warn("what waits at a subject is not bounded as it should be", "subject", subject, "error", err)
	}
	ctx, cancel := context.WithCancel(e.ctx)
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		for {
			m, err := sub.NextMsgWithContext(ctx)
			switch {
			case ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription):
				return
			case err != nil: // some were dropped, which the connection's handler logs
				continue
			}
			boundary.Try(e.log, "a message of another node", func() { f(m) })
		}
	}()
	return func() {
		cancel()
		_ = sub.Unsubscribe()
	}
}
