//go:build nostore

package store

import (
	"context"
	"errors"
	"log/slog"
)

// Built reports whether this program can run a store.
const Built = false

// Run says that this program cannot.
func Run(context.Context, Config, *slog.Logger) error {
	return errors.New("this program was built without the store (nostore): use one that has it, or a NATS server of version 2.12 or later")
}
