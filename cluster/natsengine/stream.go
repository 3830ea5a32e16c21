package natsengine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sipxrest/cluster"
)

// maxMessage bounds a message of a stream, in bytes: a state, and its header.
const maxMessage = cluster.MaxStored + 1<<10

// streamConfig is what JetStream knows of a stream, as far as we set it.
type streamConfig struct {
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Subjects    []string      `json:"subjects"`
	Retention   string        `json:"retention"`
	Consumers   int           `json:"max_consumers"`
	Messages    int64         `json:"max_msgs"`
	Bytes       int64         `json:"max_bytes"`
	Discard     string        `json:"discard"`
	MaxAge      time.Duration `json:"max_age"`
	PerSubject  int64         `json:"max_msgs_per_subject"`
	Message     int32         `json:"max_msg_size"`
	Storage     string        `json:"storage"`
	Replicas    int           `json:"num_replicas"`
	Duplicates  time.Duration `json:"duplicate_window,omitempty"`
	TTL         bool          `json:"allow_msg_ttl"`
	Atomic      bool          `json:"allow_atomic"`

	// Of logs.
	First    uint64            `json:"first_seq,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// streamInfo is what JetStream says of a stream.
type streamInfo struct {
	refusable
	Config streamConfig `json:"config"`
	Total  int          `json:"total"` // of subjects that match a filter
	State  struct {
		First uint64 `json:"first_seq"`
		Last  uint64 `json:"last_seq"`
	} `json:"state"`
	Cluster *struct {
		Leader   string `json:"leader"`
		Replicas []struct {
			Name    string `json:"name"`
			Current bool   `json:"current"`
			Offline bool   `json:"offline"`
		} `json:"replicas"`
	} `json:"cluster"`
}

// Ensure is cluster.Engine's. A stream that is there with other replicas gets the
// wanted ones.
func (e *Engine) Ensure(ctx context.Context, s cluster.Stream) error {
	want := streamConfig{
		Name: s.Name, Description: "sipxrest", Subjects: s.Subjects, Retention: "limits", Consumers: -1, Messages: -1, Bytes: -1, Discard: "old",
		MaxAge: s.MaxAge, PerSubject: 1, Message: maxMessage, Storage: "file", Replicas: s.Replicas, TTL: true, Atomic: true,
	}
	if want.Replicas == 0 {
		want.Replicas = e.replicas()
	}
	have, err := e.ensure(ctx, want, s.Replicas)
	if err != nil {
		return err
	}
	if !have.Config.Atomic || !have.Config.TTL {
		return fmt.Errorf("stream %s cannot be used: the server is NATS %s, and 2.12 is needed", s.Name, e.nc.ConnectedServerVersion())
	}
	if s.Own && e.cfg.Local != nil {
		e.mu.Lock()
		e.own[s.Name] = true
		e.mu.Unlock()
		e.move(ctx, s.Name, have)
	}
	return nil
}

// askAgain is after how long a question about a stream is asked again. The servers
// leave one without an answer when two nodes make the same stream at once, and while
// they choose a leader.
const askAgain = time.Second

// ensure makes the stream, or has it get the wanted replicas (0: any).
func (e *Engine) ensure(ctx context.Context, want streamConfig, replicas int) (*streamInfo, error) {
	for {
		have, err := e.ensureOnce(ctx, want, replicas)
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return have, err
		}
	}
}

func (e *Engine) ensureOnce(ctx context.Context, want streamConfig, replicas int) (*streamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, askAgain)
	defer cancel()
	have, err := e.info(ctx, want.Name, nil)
	switch {
	case errors.Is(err, cluster.ErrNoStream):
		return e.create(ctx, want, replicas == 0)
	case err == nil && have.Config.Replicas != want.Replicas && replicas != 0:
		return e.update(ctx, want)
	}
	return have, err
}

// replicas are three, or as many as there are servers.
func (e *Engine) replicas() int {
	return min(3, max(len(e.cfg.Servers), len(e.nc.Servers())))
}

// create makes a stream. Another node may do the same at the same time.
func (e *Engine) create(ctx context.Context, want streamConfig, anyReplicas bool) (*streamInfo, error) {
	var made streamInfo
	err := e.ask(ctx, "$JS.API.STREAM.CREATE."+want.Name, want, &made)
	if refusal(err) == codeNoReplicas && anyReplicas {
		// Several addresses, and one server that is no part of a cluster.
		want.Replicas = 1
		made = streamInfo{}
		err = e.ask(ctx, "$JS.API.STREAM.CREATE."+want.Name, want, &made)
	}
	if refusal(err) == codeNameExists {
		return e.info(ctx, want.Name, nil)
	}
	return &made, err
}

func (e *Engine) update(ctx context.Context, want streamConfig) (*streamInfo, error) {
	var made streamInfo
	if err := e.ask(ctx, "$JS.API.STREAM.UPDATE."+want.Name, want, &made); err != nil {
		return nil, fmt.Errorf("stream %s cannot have %d replicas: %w", want.Name, want.Replicas, err)
	}
	e.log.Info("a stream has other replicas from now on", "stream", want.Name, "replicas", want.Replicas)
	return &made, nil
}

func (e *Engine) info(ctx context.Context, stream string, request any) (*streamInfo, error) {
	var i streamInfo
	if err := e.ask(ctx, "$JS.API.STREAM.INFO."+stream, request, &i); err != nil {
		return nil, err
	}
	return &i, nil
}

// Delete is cluster.Engine's.
func (e *Engine) Delete(ctx context.Context, stream string) error {
	e.mu.Lock()
	delete(e.own, stream)
	e.mu.Unlock()
	var done refusable
	if err := e.ask(ctx, "$JS.API.STREAM.DELETE."+stream, nil, &done); !errors.Is(err, cluster.ErrNoStream) {
		return err
	}
	return nil
}

// leaderLook is how often it is looked who leads our streams: elections move them.
const leaderLook = 30 * time.Second

// leadElsewhere keeps the leaders of this node's streams off its machine.
func (e *Engine) leadElsewhere() {
	defer e.wg.Done()
	if e.cfg.Local == nil {
		return
	}
	look := time.NewTicker(leaderLook)
	defer look.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-look.C:
		}
		e.mu.Lock()
		var names []string
		for name := range e.own {
			names = append(names, name)
		}
		e.mu.Unlock()
		slices.Sort(names)
		for _, name := range names {
			ctx, cancel := context.WithTimeout(e.ctx, dialWait)
			if have, err := e.info(ctx, name, nil); err == nil {
				e.move(ctx, name, have)
			}
			cancel()
		}
	}
}

// move has another server lead a stream whose leader is on this machine: were both
// to die at once, the others would wait for an election before they can act.
func (e *Engine) move(ctx context.Context, stream string, have *streamInfo) {
	if have.Cluster == nil || !e.cfg.Local(have.Cluster.Leader) {
		return
	}
	for _, r := range have.Cluster.Replicas {
		if e.cfg.Local(r.Name) || r.Offline || !r.Current {
			continue
		}
		request := map[string]any{"placement": map[string]string{"preferred": r.Name}}
		var done refusable
		if err := e.ask(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, request, &done); err != nil {
			e.log.Debug("the leader of a stream stays on this machine", "stream", stream, "error", err)
		}
		return
	}
}
