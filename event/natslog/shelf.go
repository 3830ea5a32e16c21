package natslog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/natsengine"
	"sipxrest/event"
)

// A Shelf is an event.Shelf.
type Shelf struct {
	engine *natsengine.Engine
	stream natsengine.Log
	prefix string // of subjects, with a point
}

var _ event.Shelf = (*Shelf)(nil)

// NewShelf returns the place for the webhooks of a cluster. Nothing is asked of the store
// yet. Of the configuration it needs the names and the replicas.
func NewShelf(e *natsengine.Engine, cfg Config) *Shelf {
	prefix := cfg.Cluster + ".wh."
	return &Shelf{engine: e, prefix: prefix, stream: natsengine.Log{Name: cfg.Cluster + "_WEBHOOKS", Subjects: []string{prefix + ">"}, Replicas: cfg.Replicas}}
}

// shelfTime bounds the reading of all entries.
const shelfTime = 10 * time.Second

// Write is event.Shelf's.
func (s *Shelf) Write(ctx context.Context, list []event.ShelfEntry, on map[string]int64) (int64, error) {
	batch := make([]cluster.Write, len(list))
	for i, e := range list {
		batch[i] = cluster.Write{Subject: s.prefix + e.Name, Data: e.Data}
	}
	var conds []cluster.Cond
	for name, last := range on {
		conds = append(conds, cluster.Cond{Subject: s.prefix + name, Last: uint64(max(last, 0))})
	}
	seq, err := s.engine.Commit(ctx, s.stream.Name, batch, conds...)
	return int64(seq), words(err)
}

// Follow is event.Shelf's.
func (s *Shelf) Follow(ctx context.Context, all func([]event.ShelfEntry, int64), take func(event.ShelfEntry)) error {
	have, err := s.ensure(ctx)
	if err != nil {
		return words(err)
	}
	list, err := s.read(ctx)
	if err != nil {
		return words(err)
	}
	all(list, int64(have.Last))
	return words(s.engine.Follow(ctx, s.stream.Name, have.Last, func(e cluster.Entry) { take(s.entry(e)) }))
}

func (s *Shelf) ensure(ctx context.Context) (natsengine.LogState, error) {
	ctx, cancel := context.WithTimeout(ctx, shelfTime)
	defer cancel()
	return s.engine.EnsureLog(ctx, s.stream)
}

// read returns everything that there is.
func (s *Shelf) read(ctx context.Context) (list []event.ShelfEntry, err error) {
	ctx, cancel := context.WithTimeout(ctx, shelfTime)
	defer cancel()
	found := 0
	count, err := s.engine.Sweep(ctx, s.stream.Name, s.prefix+">", func(e cluster.Entry) {
		found++
		if len(e.Data) > 0 {
			list = append(list, s.entry(e))
		}
	})
	if err == nil && found < count { // a server that is behind may deliver less after an election
		err = fmt.Errorf("the store has %d entries of webhooks, and delivers %d", count, found)
	}
	return list, err
}

func (s *Shelf) entry(e cluster.Entry) event.ShelfEntry {
	return event.ShelfEntry{Name: strings.TrimPrefix(e.Subject, s.prefix), Data: e.Data, Seq: int64(e.Seq)}
}
