// Package datafile makes the files that the service keeps, databases among them, so
// that it can use them whoever made them.
package datafile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Make makes an empty file that others cannot read, and its folder, if they are not
// there. What root makes belongs to the folder's owner.
func Make(file string) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	GiveToOwner(f, dir)
	return f.Close()
}

// Migrate brings a database from the version that it has to that of the last of
// migrations, each a script of SQL, and runs last in the same transaction; nil: nothing.
// The version is the number of those that were applied (PRAGMA user_version).
// Transactions of the database must begin by writing (_txlock=immediate), for two processes may
// open it at once.
func Migrate(db *sql.DB, migrations []string, last func(*sql.Tx) error) error {
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of nothing, once it is committed
	var version int
	if err := tx.QueryRow(`PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version > len(migrations) {
		return fmt.Errorf("a later version of sipxrest has made version %d of it, this one knows %d: use that one", version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		if _, err := tx.Exec(migrations[version]); err != nil {
			return fmt.Errorf("version %d: %w", version+1, err)
		}
		if _, err := tx.Exec(fmt.Sprintf(`PRAGMA user_version = %d`, version+1)); err != nil {
			return err
		}
	}
	if last != nil {
		if err := last(tx); err != nil {
			return err
		}
	}
	return tx.Commit()
}
