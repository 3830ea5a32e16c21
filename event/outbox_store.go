package event

import (
	"time"

	"sipxrest/internal/webhook"
)

// place is where an event is in the log.
type place struct{ run, seq int64 }

func (p place) before(q place) bool { return p.run < q.run || p.run == q.run && p.seq < q.seq }

// A delivery is an event that a webhook has not taken at once, as it is kept: the
// events that were taken are nowhere.
type delivery struct {
	hook    string
	at      place
	id      string // of the event
	kind    Type
	call    string // "" for an event of no call
	dead    bool   // given up; else it waits
	replay  bool   // somebody has asked for it again
	tries   int    // of this round
	next    time.Time
	since   time.Time // it waits, or is dead
	history []Attempt
	// body is kept where the log may not have the event any more: of dead letters,
	// and of all without a database.
	body []byte
}

// Attempt is one request of a webhook, as it is shown.
type Attempt struct {
	At     Time   `json:"at"`
	TookMS int64  `json:"took_ms"`
	Status int    `json:"status,omitempty"` // of the response; 0: there was none
	Error  string `json:"error,omitempty"`
	Answer string `json:"answer,omitempty"` // the beginning of its body
}

// hookRecord is a webhook as it is kept.
type hookRecord struct {
	id, origin, owner, call string
	spec                    WebhookSpec
	made                    time.Time
	secrets                 []secret // the newest first
	hookState
	cursor string
	// unreadable is why it cannot be used: it is sealed by another key.
	unreadable error
	// reseal says that it is kept in clear, though there is a key now.
	reseal bool
}

// hookState is what a restart must not forget of how a webhook fares.
type hookState struct {
	enabled bool
	state   string
	since   time.Time // of the state
	fails   int       // in a row
	failing time.Time // since when every attempt has failed; zero: the last one did not
	lastErr string
}

// secret is a key with its name.
type secret struct {
	id      string
	key     webhook.SigningKey
	made    time.Time
	retires time.Time // zero: never
}

// hookBatch is what changes of a webhook's deliveries in one commit.
type hookBatch struct {
	hook   string
	cursor string // "" as it was
	state  *hookState
	puts   map[place]*delivery // made, or changed
	gone   map[place]bool      // taken
	// freed are calls, of which a delivery has gone: the next one need not wait for
	// it any more. The value says that the webhook has taken it, so that even one
	// that was refused before is tried again now.
	freed map[freed]bool
	// all has everything that waits tried again now, the first ones of each call.
	all bool
	now time.Time
}

// freed names the deliveries among which order is kept.
type freed struct {
	call   string
	replay bool
}

func newBatch(hook string) *hookBatch {
	return &hookBatch{hook: hook, puts: map[place]*delivery{}, gone: map[place]bool{}, freed: map[freed]bool{}}
}

// rows reports whether the batch changes more than the cursor.
func (b *hookBatch) rows() bool {
	return len(b.puts) > 0 || len(b.gone) > 0 || len(b.freed) > 0 || b.all || b.state != nil
}

// hookCounts is what of a webhook is in the store.
type hookCounts struct {
	waiting, dead int
	next          time.Time      // when the first one is due; zero: none
	calls         map[string]int // how many wait of each call, without replays
}

// deliveryQuery is which deliveries are listed: the newest first.
type deliveryQuery struct {
	state  string // "pending", "failed", "dead"; "": all
	call   string
	before *place // those before it; nil: from the newest
	limit  int
}

// revival is which events are to be sent again: dead letters, all or by event, or
// others of the log.
type revival struct {
	dead bool
	rows []*delivery
	// first says which of rows wait for none of their call.
	now time.Time
}

// outboxStore keeps webhooks and what they have not taken. Its methods may be
// called from any goroutine.
type outboxStore interface {
	hooks() ([]*hookRecord, error)
	saveHook(r *hookRecord) error // all but its cursor, which only a new one gets from it
	dropHook(id string) error
	// commit makes the changes of all batches, or none.
	commit(batches []*hookBatch) error
	count(hook string) (hookCounts, error)
	due(hook string, now time.Time, limit int) ([]*delivery, error)
	list(hook string, q deliveryQuery) ([]*delivery, error)
	// revive makes dead letters, or other events, wait; it returns how many do.
	// Those that wait already are left alone.
	revive(hook string, r revival) (int, error)
	// bury forgets dead letters from before a time, and of each webhook those
	// beyond the newest of most. It returns how many.
	bury(before time.Time, most int) (int, error)
}
