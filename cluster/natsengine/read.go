package natsengine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"sipxrest/cluster"
)

// stored is a message as JetStream shows it.
type stored struct {
	refusable
	Message struct {
		Subject string    `json:"subject"`
		Seq     uint64    `json:"seq"`
		Data    []byte    `json:"data"`
		Time    time.Time `json:"time"`
	} `json:"message"`
}

// Last is cluster.Engine's.
func (e *Engine) Last(ctx context.Context, stream, subject string) (cluster.Entry, error) {
	var m stored
	// Not "direct": any server that has the stream may answer that, also one that is
	// behind.
	err := e.ask(ctx, "$JS.API.STREAM.MSG.GET."+stream, map[string]string{"last_by_subj": subject}, &m)
	if refusal(err) == codeNoMessage {
		return cluster.Entry{}, cluster.ErrNone
	}
	if err != nil {
		return cluster.Entry{}, err
	}
	return cluster.Entry{Subject: m.Message.Subject, Data: m.Message.Data, Seq: m.Message.Seq, Time: m.Message.Time}, nil
}

const (
	// page is how many messages a sweep asks for at a time.
	page = 500
	// pageWait is how long it waits for the next of them.
	pageWait = time.Second
	// consumerLife is how long the servers keep a sweep's consumer whose node died.
	consumerLife = 10 * time.Second
)

// consumerMade is the answer to making a consumer.
type consumerMade struct {
	refusable
	Name string `json:"name"`
}

// Sweep is cluster.Engine's. The count is the leader's own. A consumer may be made
// at a server that is behind, and deliver less, or nothing, after an election.
func (e *Engine) Sweep(ctx context.Context, stream, filter string, each func(cluster.Entry)) (int, error) {
	count, err := e.count(ctx, stream, filter)
	if err != nil || count == 0 {
		return count, err
	}
	consumer, err := e.consumer(ctx, stream, filter)
	if err != nil {
		return count, err
	}
	defer func() {
		// Not awaited: it goes by itself after consumerLife.
		_ = e.nc.Publish("$JS.API.CONSUMER.DELETE."+stream+"."+consumer, nil)
	}()
	inbox := e.nc.NewInbox()
	sub, err := e.nc.SubscribeSync(inbox)
	if err != nil {
		return count, e.failure(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := e.pages(ctx, stream, consumer, inbox, sub, each); err != nil {
		return count, err
	}
	return e.count(ctx, stream, filter)
}

// count asks the stream's leader how many subjects match. It asks for names beyond
// the last one, so that none is sent.
func (e *Engine) count(ctx context.Context, stream, filter string) (int, error) {
	have, err := e.info(ctx, stream, map[string]any{"subjects_filter": filter, "offset": 1 << 30})
	if err != nil {
		return 0, err
	}
	return have.Total, nil
}

// consumer makes what delivers the messages, in memory of one server.
func (e *Engine) consumer(ctx context.Context, stream, filter string) (string, error) {
	request := map[string]any{"stream_name": stream, "config": map[string]any{
		"deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant", "filter_subject": filter, "mem_storage": true, "num_replicas": 1,
		"inactive_threshold": consumerLife, "max_deliver": 1,
	}}
	var made consumerMade
	if err := e.ask(ctx, "$JS.API.CONSUMER.CREATE."+stream, request, &made); err != nil {
		return "", err
	}
	return made.Name, nil
}

// pages asks for messages until the consumer has no more.
func (e *Engine) pages(ctx context.Context, stream, consumer, inbox string, sub *nats.Subscription, each func(cluster.Entry)) error {
	request := fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, page)
	for {
		if err := e.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+consumer, inbox, request); err != nil {
			return e.failure(err)
		}
		for n := 0; n < page; n++ {
			m, err := next(ctx, sub)
			switch {
			case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
				return nil // the server is gone, or it lost some: the count tells
			case err != nil:
				return e.failure(err)
			}
			if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
				return nil // no more messages, or no such consumer
			}
			meta, err := m.Metadata()
			if err != nil {
				continue // nobody else knows the inbox
			}
			each(cluster.Entry{Subject: m.Subject, Data: m.Data, Seq: meta.Sequence.Stream, Time: meta.Timestamp})
			if meta.NumPending == 0 {
				return nil
			}
		}
	}
}

func next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, pageWait)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}
