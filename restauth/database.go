package restauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"sipxrest/restauth/imdb"
)

// A database is one that users are read from, of a sipXcom installation. What was
// read last goes on while it cannot be read.
type database struct {
	*imdb.Database
	last *imdb.Users // guarded by Users.reloading; nil before it was read
	down atomic.Bool // the last attempt to read it failed
}

func openDatabase(url string) (*database, error) {
	d, err := imdb.Open(url)
	if err != nil {
		return nil, fmt.Errorf("users: %s: %w", imdb.Name(url), err)
	}
	return &database{Database: d}, nil
}

// errEmpty refuses that all users of a database are gone: sipXconfig has just begun
// to write them again.
var errEmpty = errors.New("it holds no users any more")

// reread reads the database. The caller holds Users.reloading.
func (d *database) reread() error {
	next, err := d.Read(context.Background()) // it has a time limit of its own
	_, err = d.take(next, err)
	return err
}

// take makes what was read the last, and reports whether it differs. The caller
// holds Users.reloading.
func (d *database) take(next *imdb.Users, err error) (differs bool, _ error) {
	if err == nil && len(next.List) == 0 && d.last != nil && len(d.last.List) > 0 {
		err = fmt.Errorf("%s: %w: the %d that there were stay until a restart", d, errEmpty, len(d.last.List))
	}
	d.down.Store(err != nil)
	if err != nil {
		return false, err
	}
	differs = d.last == nil || d.last.Sum != next.Sum
	d.last = next
	return differs, nil
}

// watchDatabase takes what a database holds whenever it has changed, until ctx ends.
func (u *Users) watchDatabase(ctx context.Context, d *database, log *slog.Logger) {
	var failing time.Time // since when; zero: it is read
	d.Watch(ctx, func(next *imdb.Users, err error) {
		u.reloading.Lock()
		defer u.reloading.Unlock()
		differs, err := d.take(next, err)
		switch {
		case err != nil:
			if failing.IsZero() {
				failing = time.Now()
				log.Error("a database of users cannot be read, the users read last stay", "error", err)
			}
			return
		case !failing.IsZero():
			log.Info("a database of users is read again", "database", d.String(), "after", time.Since(failing).Round(time.Second))
			failing = time.Time{}
		}
		if differs {
			u.logReload(u.reread(), log)
		}
	})
}

// Databases is how many databases users are read from, and how many of them cannot
// be read now.
func (u *Users) Databases() (all, down int) {
	for _, d := range u.databases {
		if d.down.Load() {
			down++
		}
	}
	return len(u.databases), down
}

// imdbEntries are the users of a database or of an export of it. Users who cannot be
// called are faults, not errors: sipXcom wrote them and worked with them.
func imdbEntries(name string, read *imdb.Users) (entries []entry, faults []string) {
	entries = make([]entry, 0, len(read.List))
	for _, v := range read.List {
		e := entry{where: name + " " + v.ID}
		e.Name, e.Identity, e.DisplayName = v.Name, v.Identity, v.DisplayName
		e.SIPPassword = v.SIPPassword
		// A clear PIN and a hash stand in the same field, as in validusers.xml.
		if isHash(v.PINToken, 32) {
			e.pin.md5 = strings.ToLower(v.PINToken)
		} else {
			e.pin.clear = v.PINToken
		}
		if e.SIPPassword == "" && isHash(v.SIPHash, 32) {
			e.SIPHA1 = strings.ToLower(v.SIPHash)
		}
		for _, alias := range v.Aliases {
			if checkName(alias) != nil {
				faults = append(faults, fmt.Sprintf("%s: alias %.40q is left out: it is not a user name", e.where, alias))
				continue
			}
			e.Aliases = append(e.Aliases, alias)
		}
		if err := e.check(); err != nil {
			faults = append(faults, e.where+": left out: "+err.Error())
			continue
		}
		entries = append(entries, e)
	}
	return entries, faults
}
