package natsengine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"sipxrest/cluster"
)

// A Log is a stream that is read in its order, each message of it.
type Log struct {
	Name     string
	Subjects []string
	MaxAge   time.Duration // 0: messages stay
	MaxBytes int64         // 0: no limit. The oldest go. It is less where the servers have no room for so much
	Replicas int           // 0: as many as the engine finds right
	// Of one that is made now: the number of its first message, and what is noted of it.
	First    uint64
	Metadata map[string]string
}

// LogState is how a log is.
type LogState struct {
	First, Last uint64            // numbers of the oldest message and the newest one
	Metadata    map[string]string // of when it was made
}

// maxLogMessage bounds a message of a log, in bytes: what servers take by default.
const maxLogMessage = 1 << 20

// leastLog is what a log has at least, in bytes.
const leastLog = 8 << 20

// EnsureLog makes a log, unless it is there, and says how it is.
func (e *Engine) EnsureLog(ctx context.Context, l Log) (LogState, error) {
	have, err := e.info(ctx, l.Name, nil)
	if errors.Is(err, cluster.ErrNoStream) {
		want := streamConfig{Name: l.Name, Description: "sipxrest", Subjects: l.Subjects, Retention: "limits", Consumers: -1, Messages: -1, Bytes: -1,
			Discard: "old", MaxAge: l.MaxAge, PerSubject: 1, Message: maxLogMessage, Storage: "file", Replicas: l.Replicas, TTL: true, Atomic: true,
			First: l.First, Metadata: l.Metadata}
		if l.MaxBytes > 0 {
			want.Bytes = l.MaxBytes
		}
		if want.Replicas == 0 {
			want.Replicas = e.replicas()
		}
		have, err = e.create(ctx, want, l.Replicas == 0)
		for code := refusal(err); want.Bytes > leastLog && (code == codeNoRoom || code == codeNoResources); code = refusal(err) {
			want.Bytes /= 4 // the servers set that much aside, and others need room, too
			have, err = e.create(ctx, want, l.Replicas == 0)
		}
	}
	if err != nil {
		return LogState{}, err
	}
	if !have.Config.Atomic {
		return LogState{}, fmt.Errorf("stream %s cannot be used: the server is NATS %s, and 2.12 is needed", l.Name, e.nc.ConnectedServerVersion())
	}
	s := LogState{First: have.State.First, Last: have.State.Last, Metadata: have.Config.Metadata}
	if s.Last == 0 && have.Config.First > 1 { // it has just been made
		s.First, s.Last = have.Config.First, have.Config.First-1
	}
	return s, nil
}

const (
	// followBeat is how often the servers say that a consumer is there, though it has
	// nothing; followQuiet is after how long without that it is given up.
	followBeat  = time.Second
	followQuiet = 4 * time.Second
)

// ErrCut says that messages of a log do not come any more, or not all. Follow it anew.
var ErrCut = errors.New("the store has ceased to deliver")

// Follow calls take for each message of a log behind a number, in their order, until
// ctx ends or the servers cease to deliver. take keeps the data.
func (e *Engine) Follow(ctx context.Context, log string, after uint64, take func(cluster.Entry)) error {
	inbox := e.nc.NewInbox()
	sub, err := e.nc.SubscribeSync(inbox)
	if err != nil {
		return e.failure(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	request := map[string]any{"stream_name": log, "config": map[string]any{
		"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1, "deliver_subject": inbox, "ack_policy": "none", "max_deliver": 1,
		"replay_policy": "instant", "mem_storage": true, "num_replicas": 1, "flow_control": true, "idle_heartbeat": followBeat,
		"inactive_threshold": consumerLife,
	}}
	made, err := e.deliver(ctx, log, request)
	if err != nil {
		return err
	}
	defer func() { _ = e.nc.Publish("$JS.API.CONSUMER.DELETE."+log+"."+made, nil) }()
	for delivered := uint64(0); ; {
		m, err := nextOf(ctx, sub)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrSlowConsumer):
			return ErrCut
		case err != nil:
			return e.failure(err)
		}
		if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
			if status != "100" {
				return fmt.Errorf("%w: %s %s", ErrCut, status, m.Header.Get("Description"))
			}
			if m.Reply != "" { // flow control waits for an answer
				_ = e.nc.Publish(m.Reply, nil)
			} else if stalled := m.Header.Get("Nats-Consumer-Stalled"); stalled != "" {
				_ = e.nc.Publish(stalled, nil)
			}
			if last := m.Header.Get("Nats-Last-Consumer"); last != "" && last != strconv.FormatUint(delivered, 10) {
				return ErrCut // some got lost
			}
			continue
		}
		meta, err := m.Metadata()
		if err != nil {
			continue // nobody else knows the inbox
		}
		if meta.Sequence.Consumer != delivered+1 {
			return ErrCut
		}
		delivered++
		take(cluster.Entry{Subject: m.Subject, Data: m.Data, Seq: meta.Sequence.Stream, Time: meta.Timestamp})
	}
}

// deliver makes a consumer.
func (e *Engine) deliver(ctx context.Context, log string, request any) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, followQuiet)
	defer cancel()
	var made consumerMade
	if err := e.ask(ctx, "$JS.API.CONSUMER.CREATE."+log, request, &made); err != nil {
		return "", err
	}
	return strings.TrimSpace(made.Name), nil
}

func nextOf(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, followQuiet)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}
