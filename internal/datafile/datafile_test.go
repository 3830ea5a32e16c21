package datafile

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

func TestAFileIsForItsOwnerOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "x.db")
	if err := Make(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Make(file); err != nil { // it is left as it is
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() != 1 || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%v %v", info, err)
	}
}

// What fails leaves a database as it was; a later version is not touched.
func TestMigrationsAreAppliedOnce(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(t.TempDir(), "x.db"))+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	version := func() (n int) {
		if err := db.QueryRow(`PRAGMA user_version`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	all := []string{`CREATE TABLE a (x)`, `CREATE TABLE b (x)`}
	insert := func(tx *sql.Tx) error { _, err := tx.Exec(`INSERT INTO a VALUES (1)`); return err }
	wrong := errors.New("wrong")
	if err := Migrate(db, all, func(*sql.Tx) error { return wrong }); !errors.Is(err, wrong) || version() != 0 {
		t.Errorf("%v, version %d", err, version())
	}
	if err := Migrate(db, append(all[:1:1], `nonsense`), nil); err == nil || version() != 0 {
		t.Errorf("%v, version %d", err, version())
	}
	for range 2 {
		if err := Migrate(db, all, insert); err != nil || version() != 2 {
			t.Errorf("%v, version %d", err, version())
		}
	}
	if err := Migrate(db, all[:1], insert); err == nil || version() != 2 {
		t.Errorf("%v, version %d", err, version())
	}
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM a`).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
}
