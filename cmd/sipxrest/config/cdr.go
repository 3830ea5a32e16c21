package config

import (
	"time"

	"sipxrest/event"
	"sipxrest/internal/setting"
)

// CDR is the section "cdr": records of calls that are over.
type CDR struct {
	// Retention is how long records are kept here; copies elsewhere stay.
	Retention time.Duration
	// Postgres is the address of a PostgreSQL database that records are copied to, with
	// its password. Empty: none.
	Postgres string
	// Compat serves sipXrest's /cdr.
	Compat bool
}

// rows are the keys of the section.
func (c *CDR) rows() []row {
	return []row{
		{Name: "cdr.retention", Set: setting.Duration(&c.Retention), Check: between(24*time.Hour, 100*365*24*time.Hour), Default: "9600h",
			Doc:   "how long records of ended calls are kept: 400 days; 24 h to 100 years",
			About: "How long records of ended calls are kept here: 400 days."},
		{Name: "cdr.postgres", Set: setting.Text(&c.Postgres), Check: postgresDSN, Show: "\"postgres://sipxrest:SECRET@db.example/calls?sslmode=verify-full\"",
			Doc: "PostgreSQL database that records are copied to, `postgres://user:password@host/database?sslmode=verify-full` " +
				"(see [cdrs.md](cdrs.md#in-postgresql)). Without the password libpq's ways hold: `PGPASSFILE`, `~/.pgpass`",
			About: "A PostgreSQL database that they are copied to as well."},
		{Name: "cdr.compat", Set: setting.Truth(&c.Compat), Default: "true",
			Doc:   "`false`: there is no `/cdr/{user}`, sipXrest's resource of call records",
			About: "sipXrest's /cdr/{user}."},
	}
}

// postgresDSN checks the address of a database.
func postgresDSN(at any) error {
	if dsn := *at.(*string); dsn != "" {
		return event.CheckPostgresDSN(dsn)
	}
	return nil
}
