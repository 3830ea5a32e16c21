package event

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"sipxrest/sipflow"
)

// Answers that are kept for idempotency keys do not fill the memory: the oldest go.
func TestAnswersInMemoryAreBounded(t *testing.T) {
	m := newMemoryLog(1<<30, 1<<30)
	now := time.Now()
	const n, size = 100, 1 << 20
	for i := range n {
		use := &KeyUse{IdempotencyKey: IdempotencyKey{Principal: "key crm", Key: strconv.Itoa(i), Until: now.Add(time.Hour)},
			Answer: make([]byte, size)}
		if err := m.Append(&Batch{Keys: []*KeyUse{use}}); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for i := range n {
		use, err := m.Key("key crm", strconv.Itoa(i), now)
		if err != nil {
			t.Fatal(err)
		}
		if use != nil {
			kept++
		} else if kept > 0 {
			t.Errorf("%d is gone, older ones are not", i)
		}
	}
	if kept != maxMemoryAnswers/size || m.answerBytes != kept*size || len(m.answers) != kept {
		t.Errorf("%d are kept, %d bytes counted, %d in the list", kept, m.answerBytes, len(m.answers))
	}
	if err := m.Trim(Trim{Now: now.Add(2 * time.Hour)}); err != nil || len(m.keys)+len(m.answers)+m.answerBytes != 0 {
		t.Errorf("%v: %d keys, %d answers, %d bytes are left", err, len(m.keys), len(m.answers), m.answerBytes)
	}
}

// A call whose beginning is one event too many is refused as what cannot be kept.
func TestACallBeyondTheQueueIsRefused(t *testing.T) {
	bus, err := Open(Config{QueueBytes: 1}, nil) // nobody takes what waits
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	bus.queued.Store(2)
	r := request("call-1")
	if err := bus.Expect(r); err != nil {
		t.Fatal(err)
	}
	bus.Observe(&sipflow.Event{ID: "call-1", Kind: sipflow.Placed, At: time.Now()})
	var store *StoreError
	if err := bus.Committed(t.Context(), "call-1"); !errors.As(err, &store) || !errors.Is(err, errQueue) {
		t.Errorf("%v", err)
	}
}

// Events gather only while many are told.
func TestEventsGatherWhileManyAreTold(t *testing.T) {
	var p pace
	now := time.Now()
	for i, c := range []struct {
		after time.Duration
		told  int
		want  bool
	}{{0, 1, false}, {10 * time.Millisecond, gatherFrom, false}, {gatherSpan, 1, true}, {gatherTime, 50, true}, {gatherSpan, 50, true},
		{gatherSpan, 1, false}, {time.Minute, 500, false}, {time.Millisecond, 500, false}, {time.Minute, 1, false}} {
		now = now.Add(c.after)
		if got := p.took(c.told, now); got != c.want {
			t.Errorf("%d: %t", i, got)
		}
	}
}
