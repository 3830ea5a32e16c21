package event

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// In a cluster one node delivers to a webhook at a time. Which one follows from the
// webhook's id and the nodes that live, so nobody must be asked, and each node reads the
// same events from its own log. A node whose turn is over gives it back, with the cursor
// that it has come to. That of a node that is gone is taken once it has been away for
// turnTime. Whoever believes in vain that it is his turn cannot move the cursor: so
// nothing is left out, and what comes twice has the same id.
const (
	turnLook = time.Second
	turnTime = 5 * time.Second
	// strayTime is how long the webhook of a call waits for a call that nobody knows.
	strayTime = time.Hour
)

// join makes an outbox of a cluster. Its webhooks come by and by.
func (o *Outbox) join(cfg *OutboxConfig, bus *Bus) error {
	if cfg.Shelf == nil {
		return errors.New("a cluster needs a place for its webhooks")
	}
	if err := checkConfigured(o.networks(), cfg.Webhooks); err != nil {
		return err
	}
	o.shared = newSharedOutbox(cfg.Shelf, cfg.Key, bus.shared.writer)
	o.store, o.keepBodies, o.most = sharedStore{o.shared}, bus.memory, maxSharedRows
	o.configured, o.node, o.nodes, o.holds = cfg.Webhooks, bus.cfg.Node, bus.cfg.Nodes, bus.cfg.Holds
	if cfg.Nodes != nil {
		o.nodes = cfg.Nodes
	}
	if o.nodes == nil {
		o.nodes = func() []string { return []string{bus.cfg.Node} }
	}
	return nil
}

// takeTurns has the webhooks be those of the cluster, and delivers to those whose turn is
// this node's, until ctx ends.
func (o *Outbox) takeTurns(ctx context.Context) {
	look := time.NewTicker(turnLook)
	defer look.Stop()
	away := map[string]time.Time{} // since when whose turn it is has been away
	for {
		if o.shared.known() {
			o.takeConfigured()
			o.meet(ctx, away)
		}
		select {
		case <-look.C:
		case <-o.shared.poke:
		case <-ctx.Done():
			return
		}
	}
}

// takeConfigured takes up the webhooks of the configuration, once the others are known.
func (o *Outbox) takeConfigured() {
	o.mu.Lock()
	list := o.configured
	o.mu.Unlock()
	if list == nil && o.begun {
		return
	}
	o.syncHooks()
	if err := o.configure(list); err != nil { // it is tried again with the next look
		if !errors.Is(err, ErrTaken) {
			o.storeFailed(err)
		}
		return
	}
	o.begun = true
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.configured) == len(list) && (len(list) == 0 || &o.configured[0] == &list[0]) { // else there are others since
		o.configured = nil
	}
}

// syncHooks has the webhooks of this node be those of the shelf.
func (o *Outbox) syncHooks() {
	o.changing.Lock()
	defer o.changing.Unlock()
	s := o.shared
	s.mu.Lock()
	hooks := make(map[string]shelfHook, len(s.hooks))
	for id, h := range s.hooks {
		if h.rec != nil && h.at > 0 {
			hooks[id] = *h
		}
	}
	moved := s.moved
	s.moved = map[string]bool{}
	s.mu.Unlock()
	for id, is := range hooks {
		h := o.find(id)
		if h == nil {
			o.addShared(&is)
			continue
		}
		h.mu.Lock()
		if h.recSeq != is.recAt {
			h.rec, h.recSeq = is.whole(), is.recAt
		}
		if st := is.whole().hookState; moved[id] && st != h.known && h.state == nil {
			h.state, h.known = &st, st
		}
		h.stale = h.stale || moved[id]
		h.mu.Unlock()
		h.wake()
	}
	for _, h := range o.all() {
		if _, there := hooks[h.id]; !there {
			o.mu.Lock()
			delete(o.hooks, h.id)
			o.mu.Unlock()
			o.end(h)
		}
	}
}

// whole is a webhook as an outbox has it.
func (h *shelfHook) whole() *hookRecord {
	r := *h.rec
	r.hookState, r.cursor = h.state, h.turn.Cursor
	if r.unreadable != nil {
		r.enabled, r.state, r.lastErr = false, WebhookOff, r.unreadable.Error()
	}
	return &r
}

// addShared adds a webhook of the shelf, or a new one in the place of one whose turn is
// over. It runs under changing.
func (o *Outbox) addShared(is *shelfHook) *hook {
	h := o.add(is.whole())
	h.recSeq = is.recAt
	return h
}

// end has a webhook deliver no more, and waits for it.
func (o *Outbox) end(h *hook) {
	if h.cancel != nil {
		h.cancel()
		<-h.done
	}
}

// meet takes the turns that are this node's, and gives back the others.
func (o *Outbox) meet(ctx context.Context, away map[string]time.Time) {
	o.syncHooks()
	if o.holds != nil && !o.holds() {
		return // who is cut off knows nothing of the others; his changes will be refused
	}
	nodes, now := o.nodes(), o.now()
	s := o.shared
	s.mu.Lock()
	hooks := make(map[string]shelfHook, len(s.hooks))
	for id, h := range s.hooks {
		if h.rec != nil && h.at > 0 {
			hooks[id] = *h
		}
	}
	s.mu.Unlock()
	maps.DeleteFunc(away, func(id string, _ time.Time) bool { _, there := hooks[id]; return !there })
	for id, is := range hooks {
		if ctx.Err() != nil {
			return
		}
		h := o.find(id)
		if h == nil {
			continue
		}
		mine := is.turn.Writer == s.writer
		running := h.cancel != nil && !isClosed(h.done)
		switch chosen := chosen(id, nodes) == o.node; {
		case chosen && running && mine:
			delete(away, id)
		case chosen && mine:
			o.deliver(ctx, id)
		case chosen && is.turn.Writer == "":
			o.takeOver(ctx, id)
		case chosen:
			// Another process has it: it gives it back, or it is gone.
			at, known := away[id]
			switch alive := slices.Contains(nodes, nodeOf(is.turn.Writer)) && nodeOf(is.turn.Writer) != o.node; {
			case !known:
				away[id] = now
			case now.Sub(at) >= turnTime && !alive, now.Sub(at) >= 4*turnTime:
				delete(away, id)
				o.takeOver(ctx, id)
			}
		case running || mine:
			o.giveBack(id)
		}
	}
}

// takeOver takes a turn, unless another node is first.
func (o *Outbox) takeOver(ctx context.Context, id string) {
	switch err := o.shared.takeTurn(id, true); {
	case err == nil:
		o.deliver(ctx, id)
	case !errors.Is(err, ErrTaken) && !errors.Is(err, ErrNoWebhook):
		o.storeFailed(err)
	}
}

// deliver begins to deliver from where the shelf says.
func (o *Outbox) deliver(ctx context.Context, id string) {
	o.changing.Lock()
	defer o.changing.Unlock()
	h := o.find(id)
	s := o.shared
	s.mu.Lock()
	is := s.hooks[id]
	if h == nil || is == nil || is.rec == nil {
		s.mu.Unlock()
		return
	}
	one := *is
	s.mu.Unlock()
	o.end(h)
	h = o.addShared(&one)
	if one.rec.origin == OriginCall {
		c, known := o.log.Call(one.rec.call)
		switch {
		case known:
			h.last = c.State == Ended
		case o.now().Sub(one.rec.made) > strayTime:
			o.forget(h)
			return
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx != nil && ctx.Err() == nil && o.hooks[id] == h {
		o.start(h)
	}
}

// giveBack ends a turn. What is under way goes again, from the next node.
func (o *Outbox) giveBack(id string) {
	o.changing.Lock()
	defer o.changing.Unlock()
	h := o.find(id)
	if h == nil {
		return
	}
	if h.cancel != nil {
		o.end(h)
		s := o.shared
		s.mu.Lock()
		is := s.hooks[id]
		if is == nil || is.rec == nil {
			s.mu.Unlock()
			return
		}
		one := *is
		s.mu.Unlock()
		o.addShared(&one)
	}
	if err := o.shared.takeTurn(id, false); err != nil && !errors.Is(err, ErrTaken) && !errors.Is(err, ErrNoWebhook) {
		o.storeFailed(err)
	}
}

// leave gives all turns back, at the end.
func (o *Outbox) leave() {
	s := o.shared
	s.mu.Lock()
	var mine []string
	for id, h := range s.hooks {
		if h.turn.Writer == s.writer {
			mine = append(mine, id)
		}
	}
	s.mu.Unlock()
	for _, id := range mine {
		if err := s.takeTurn(id, false); err != nil {
			return // the others take them in some seconds
		}
	}
}

// statusOf is how a webhook fares to which another node delivers.
func (o *Outbox) statusOf(h *hook) (st WebhookStatus, away bool) {
	state, away := o.stateOf(h)
	if !away {
		return st, false
	}
	s := o.shared
	s.mu.Lock()
	if is := s.hooks[h.id]; is != nil {
		st.Cursor = is.turn.Cursor
	}
	s.mu.Unlock()
	c, _ := s.copy.count(h.id) // memory does not fail
	st.State, st.Waiting, st.Dead, st.Failures = state.state, c.waiting, c.dead, state.fails
	if !state.enabled {
		st.State = WebhookOff
	}
	if state.lastErr != "" {
		st.LastError = &state.lastErr
	}
	if st.State != WebhookOK {
		st.Since = At(state.since)
	}
	return st, true
}

// stateOf is the state of a webhook to which another node delivers.
func (o *Outbox) stateOf(h *hook) (st hookState, away bool) {
	s := o.shared
	if s == nil {
		return st, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	is := s.hooks[h.id]
	if is == nil || is.rec == nil || is.turn.Writer == s.writer {
		return st, false
	}
	return is.whole().hookState, true
}
