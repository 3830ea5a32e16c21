package restauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sipxrest/internal/watch"
)

// settle is how long after the first sign of a change the files are read: an
// editor or an installer touches a file several times.
const settle = 300 * time.Millisecond

// Watch reloads the users whenever a file is written or replaced, or a database has
// changed, until ctx ends. What is broken is logged and the old users stay. It
// watches the folders, because a file that is replaced by renaming is another file.
// The error says that watching files could not begin, once ctx has ended where
// databases are watched.
func (u *Users) Watch(ctx context.Context, log *slog.Logger) error {
	var databases sync.WaitGroup
	defer databases.Wait()
	for _, d := range u.databases {
		databases.Go(func() { u.watchDatabase(ctx, d, log) })
	}
	last := u.now.Load().files // what was tried last
	gone := false              // the last look found no users
	err := watch.Folders(ctx, watch.FoldersOf(u.files), settle, log, func() (again bool) {
		states := statesOf(u.files)
		if slices.Equal(states, last) {
			return false
		}
		last = states
		err := u.rereadNow()
		if errors.Is(err, errGone) && !gone { // perhaps it is just being written
			gone, last = true, nil
			return true
		}
		gone = false
		u.logReload(err, log)
		return false
	})
	if err != nil {
		if len(u.databases) > 0 { // ctx may go on for long
			log.Warn("changed files of users are read only on SIGHUP", "error", err)
		}
		return fmt.Errorf("watch users: %w", err)
	}
	return nil
}

func (u *Users) rereadNow() error {
	u.reloading.Lock()
	defer u.reloading.Unlock()
	return u.reread()
}

func (u *Users) logReload(err error, log *slog.Logger) {
	if err != nil {
		log.Error("users not reloaded, the old ones stay", "error", err)
		return
	}
	log.Info("users reloaded", "users", u.Len())
	for _, warning := range u.Warnings() {
		log.Warn("users", "fault", warning)
	}
}
