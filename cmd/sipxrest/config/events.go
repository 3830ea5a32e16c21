package config

import (
	"path/filepath"
	"time"

	"sipxrest/event"
	"sipxrest/internal/setting"
)

// Events is the section "events": the log of what happens to calls.
type Events struct {
	// Store is the file of the log, or "memory". Empty: events.db in DataDir.
	Store string
	// Sync is "normal" (a commit survives the end of the process) or "full" (and a
	// power cut).
	Sync string
	// Retention is how long events are kept, MaxBytes how many bytes of them.
	Retention time.Duration
	MaxBytes  int
	// Webhooks are told of events, beside those that clients make.
	Webhooks []EventWebhook
	// AllowPrivate are networks that webhooks may be in though they are not public.
	AllowPrivate []string
	// DeadLetterTime is how long is kept what a webhook has not taken.
	DeadLetterTime time.Duration
}

// EventsInMemory is the word for a log that ends with the process.
const EventsInMemory = "memory"

// rows are the keys of the section.
func (e *Events) rows() []row {
	return append([]row{
		{Name: "events.store", Set: eventStore(&e.Store), Absent: "`events.db` in `data-dir`", Show: "memory",
			Doc:   "file with the events of calls, or `memory`: they are gone with a restart, and so are idempotency keys",
			About: "The file, or the word memory. sync is normal or full (survives a power cut)."},
		{Name: "events.sync", Set: setting.Text(&e.Sync), Check: word("normal", "full"), Default: "normal",
			Doc: "`normal`: what is stored survives the end of the process; `full`: a power cut, too, at a tenth of the speed"},
		{Name: "events.retention", Set: setting.Duration(&e.Retention), Check: between(time.Minute, 400*24*time.Hour), Default: "72h",
			Doc: "how long events are kept; who comes back with an older place in the stream is told so; 1 min to 400 days"},
		{Name: "events.max-bytes", Set: setting.Number(&e.MaxBytes), Check: recordBytes, Default: "4294967296",
			Doc: "bytes of the file beyond which the oldest events go earlier"},
	}, e.webhookRows()...)
}

// eventStore reads the name of a file, or the word for none.
func eventStore(p *string) setting.Field {
	path := setting.Path(p)
	return setting.Field{At: p, Set: func(v setting.Value) error {
		if s, err := setting.Scalar(v.Node); err == nil && s == EventsInMemory {
			*p = s
			return nil
		}
		return path.Set(v)
	}}
}

// EventsFile is the file of the log by its whole name, or EventsInMemory.
func (c *Config) EventsFile() string {
	file := c.Events.Store
	switch file {
	case EventsInMemory:
		return file
	case "":
		file = filepath.Join(c.DataDir, "events.db")
	}
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

// EventConfig is the section as its package wants it.
func (c *Config) EventConfig() event.Config {
	return event.Config{Store: c.EventsFile(), Sync: c.Events.Sync, Retention: c.Events.Retention, MaxBytes: int64(c.Events.MaxBytes), CallTime: c.API.CallTime,
		CDRRetention: c.CDR.Retention}
}

// EventsInUse reports whether anybody reads events, or records of calls.
func (c *Config) EventsInUse() bool {
	return c.API.Enabled || c.CDR.Postgres != "" || len(c.Events.Webhooks) > 0
}
