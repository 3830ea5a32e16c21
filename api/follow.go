package api

import (
	"context"
	"errors"
	"time"

	"sipxrest/event"
)

// A sink takes what a stream sends, in its order. An error ends the stream: errSlow,
// or that the client has gone.
type sink interface {
	// event sends one event, or a note; id is where the reader is then.
	event(id event.Cursor, kind string, data []byte) error
	// alive says where the reader is, though nothing has happened.
	alive(id event.Cursor) error
	// flush has the client get what was sent so far.
	flush() error
}

// A follower sends events to one reader, from his cursor on. All that is kept for him
// is that cursor.
type follower struct {
	*API
	rd  *reading
	who *Principal
	// token is that of a phone's user.
	token string
	out   sink

	callSeq int64 // of one call: the number of its last event that was sent
	over    bool  // its last one was
	// had are the versions of calls in a snapshot, until the stream is behind it.
	had   map[string]int64
	hadTo event.Cursor
}

// follow sends until the reader, his call or the service ends.
func (f *follower) follow(ctx context.Context) Cut {
	sub := f.bus.Subscribe(f.rd.filter)
	defer sub.Close()
	if err := f.start(); err != nil {
		return f.cutBy(err)
	}
	tick := time.NewTicker(lookTime)
	defer tick.Stop()
	for quiet := time.Duration(0); ; {
		more, err := f.send()
		if err == nil {
			err = f.digits(sub)
		}
		if err == nil && f.over {
			if err = f.out.flush(); err == nil {
				return CutFinished
			}
		}
		if err != nil {
			return f.cutBy(err)
		}
		if more {
			select {
			case <-ctx.Done():
				return CutClient
			case <-f.streams.end:
				return f.goodbye()
			default:
			}
			select {
			case <-tick.C: // who is far behind is looked at as often as others
				if !f.still(ctx, f.who, f.token) {
					return CutRevoked
				}
			default:
			}
			continue
		}
		if err := f.out.flush(); err != nil {
			return f.cutBy(err)
		}
		select {
		case <-sub.Wake():
		case <-tick.C:
			if !f.still(ctx, f.who, f.token) {
				return CutRevoked
			}
			if quiet += lookTime; quiet < aliveTime {
				continue
			}
			quiet = 0
			if err := f.out.alive(f.rd.cursor); err != nil {
				return f.cutBy(err)
			}
		case <-ctx.Done():
			return CutClient
		case <-f.streams.end:
			return f.goodbye()
		}
	}
}

var errStore = errors.New("events cannot be read")

func (f *follower) cutBy(err error) Cut {
	switch {
	case errors.Is(err, errSlow):
		return CutSlow
	case errors.Is(err, errStore):
		return CutFailed
	}
	return CutClient
}

// start sends what comes before the first event.
func (f *follower) start() error {
	if f.rd.lost != nil {
		if err := f.reset(f.rd.lost); err != nil {
			return err
		}
	}
	if f.rd.snapshot {
		return f.sendSnapshot()
	}
	return f.out.alive(f.rd.cursor)
}

// reset says that the reader has lost events, and that it goes on live.
func (f *follower) reset(why *lost) error {
	f.rd.cursor = f.bus.Head()
	f.callSeq = 0
	return f.out.event(f.rd.cursor, streamReset, f.note(streamReset, f.rd.cursor, noteData{Reason: why.Reason, Oldest: why.Oldest, At: why.At}))
}

// snapshotCalls is how many calls one event of a snapshot has.
const snapshotCalls = 100

// sendSnapshot sends all calls that have not ended and that the reader sees. Events of
// theirs that the snapshot has already are not sent again.
func (f *follower) sendSnapshot() error {
	at := f.bus.Head()
	filter := event.CallFilter{States: []string{"active"}, Kinds: f.rd.filter.Kinds, Agents: f.rd.filter.Agents, Users: f.rd.filter.Users, Tags: f.rd.filter.Tags, See: f.rd.filter.See}
	var calls []*event.Call
	if f.rd.call != "" {
		if c, ok := f.bus.Call(f.rd.call); ok && c.State != event.Ended {
			calls = append(calls, c)
		}
	} else {
		for next := ""; ; {
			page, more, err := f.bus.Calls(filter, event.Page{Limit: pageMost, Cursor: next})
			if err != nil {
				return errStore
			}
			for _, c := range page {
				if f.rd.filter.CallID == "" || f.rd.filter.CallID == c.ID {
					calls = append(calls, c)
				}
			}
			if next = more; next == "" {
				break
			}
		}
	}
	f.had, f.hadTo = make(map[string]int64, len(calls)), f.bus.Head()
	parts := max(1, (len(calls)+snapshotCalls-1)/snapshotCalls)
	for i := range parts {
		some := calls[i*snapshotCalls : min(len(calls), (i+1)*snapshotCalls)]
		if some == nil {
			some = []*event.Call{}
		}
		for _, c := range some {
			f.had[c.ID] = c.Version
		}
		if err := f.out.event(at, streamSnapshot, f.note(streamSnapshot, at, noteData{Calls: some, Part: i + 1, Parts: parts})); err != nil {
			return err
		}
	}
	f.rd.cursor = at
	return nil
}

// send sends what there is behind the cursor, up to some events, and reports whether
// there is more.
func (f *follower) send() (more bool, err error) {
	if f.rd.call != "" {
		return f.sendCall()
	}
	before := f.rd.cursor
	events, next, err := f.bus.Events(f.rd.filter, before, batchMost)
	if err != nil {
		why := f.lostBy(err)
		if why == nil {
			return false, errStore
		}
		return false, f.reset(why)
	}
	if err := f.write(events); err != nil {
		return false, err
	}
	moved := next.Seq > before.Seq
	f.rd.cursor = next
	if f.had != nil && next.Seq >= f.hadTo.Seq {
		f.had = nil
	}
	// Where the log can give no more for now, the next wake-up or look asks again.
	return moved && next.Seq < f.bus.Head().Seq, nil
}

// sendCall is send for the events of one call.
func (f *follower) sendCall() (more bool, err error) {
	events, err := f.bus.CallEvents(f.rd.call, f.callSeq, batchMost)
	if err != nil {
		return false, errStore
	}
	fresh := events[:0:0]
	for _, e := range events {
		f.callSeq = e.CallSeq
		f.over = f.over || e.Final
		if f.after(e) {
			fresh = append(fresh, e)
		}
	}
	if err := f.write(f.typed(fresh)); err != nil || !f.over {
		return len(events) >= batchMost, err
	}
	return false, f.behindTheEnd(events[len(events)-1])
}

// behindTheEnd has a reader be behind the last event of his call, whose type he does not
// want: else he would come back, and find a stream that has nothing, again and again.
func (f *follower) behindTheEnd(last *event.Event) error {
	if !f.after(last) {
		return nil
	}
	at, err := event.ParseCursor(last.ID)
	if err != nil {
		return errStore
	}
	f.rd.cursor = at
	return f.out.alive(at)
}

// after reports whether an event of the call comes behind the reader's cursor.
func (f *follower) after(e *event.Event) bool { return e.Seq > f.rd.cursor.Seq }

// typed are the events whose types the reader wants.
func (f *follower) typed(events []*event.Event) []*event.Event {
	return typed(events, f.rd.filter.Types)
}

func typed(events []*event.Event, types []string) []*event.Event {
	if len(types) == 0 {
		return events
	}
	var some []*event.Event
	for _, e := range events {
		for _, t := range types {
			if event.MatchType(t, e.Type) {
				some = append(some, e)
				break
			}
		}
	}
	return some
}

// write sends events. With coalesce only the last one of each call is.
func (f *follower) write(events []*event.Event) error {
	skipped := map[string]int(nil)
	last := map[string]int64(nil)
	if f.rd.coalesce {
		skipped, last = map[string]int{}, map[string]int64{}
		for _, e := range events {
			if id := e.Data.CallID; id != nil {
				last[*id] = e.Seq
			}
		}
	}
	for _, e := range events {
		id := e.Data.CallID
		if id != nil && f.had != nil && e.CallSeq <= f.had[*id] {
			continue
		}
		n := 0
		if f.rd.coalesce && id != nil {
			if last[*id] != e.Seq {
				skipped[*id]++
				continue
			}
			n = skipped[*id]
		}
		at, err := event.ParseCursor(e.ID)
		if err != nil {
			return errStore
		}
		if err := f.out.event(at, string(e.Type), f.encode(e, f.rd.format, n)); err != nil {
			return err
		}
		f.rd.cursor = at
	}
	return nil
}

// digits sends those that phones have sent, to who asks for them. They have no place
// in the stream: the cursor stays.
func (f *follower) digits(sub *event.Subscription) error {
	if !f.rd.filter.DTMF {
		return nil
	}
	for _, e := range sub.Digits() {
		if err := f.out.event(f.rd.cursor, string(e.Type), f.encode(e, f.rd.format, 0)); err != nil {
			return err
		}
	}
	return nil
}

// goodbyeTime bounds how long a stream sends on once the service ends.
const goodbyeTime = time.Second

// goodbye sends what is left, and says that the service ends. Who is far behind goes on
// at his cursor after the restart: nobody waits for him.
func (f *follower) goodbye() Cut {
	for until := time.Now().Add(goodbyeTime); time.Now().Before(until); {
		more, err := f.send()
		if err != nil {
			return f.cutBy(err)
		}
		if !more || f.over {
			break
		}
	}
	d := noteData{Reason: "shutdown", Retry: retry().Milliseconds()}
	if err := f.out.event(f.rd.cursor, streamClosing, f.note(streamClosing, f.rd.cursor, d)); err != nil {
		return f.cutBy(err)
	}
	if err := f.out.flush(); err != nil {
		return f.cutBy(err)
	}
	return CutShutdown
}
