package check

import (
	"context"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/event"
)

// cdr tries the database that call records are copied to.
func (c *checker) cdr(cfg *config.Config) {
	if cfg.CDR.Postgres == "" {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, probeTime)
	defer cancel()
	where, err := event.TryPostgres(ctx, cfg.CDR.Postgres)
	if err != nil {
		c.say(levelProblem, "call records", "cdr.postgres: %v", err)
		return
	}
	c.say(levelOK, "call records", "they can be copied to PostgreSQL, %s", where)
}
