package restauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"sipxrest/internal/watch"
)

// settle is how long after the first sign of a change the files are read: an
// editor or an installer touches a file several times.
const settle = 300 * time.Millisecond

// Watch reloads the users whenever a file is written or replaced, until ctx
// ends. A broken file is logged and the old users stay. It watches the
// folders, because a file that is replaced by renaming is another file. The
// error says that watching could not begin.
func (u *Users) Watch(ctx context.Context, log *slog.Logger) error {
	last := u.now.Load().files // what was tried last
	gone := false              // the last look found no users
	err := watch.Folders(ctx, watch.FoldersOf(u.cfg.Files), settle, log, func() (again bool) {
		states := statesOf(u.cfg.Files)
		if slices.Equal(states, last) {
			return false
		}
		last = states
		err := u.Reload()
		if errors.Is(err, errGone) && !gone { // perhaps it is just being written
			gone, last = true, nil
			return true
		}
		gone = false
		if err != nil {
			log.Error("users not reloaded, the old ones stay", "error", err)
			return false
		}
		log.Info("users reloaded", "users", u.Len())
		for _, warning := range u.Warnings() {
			log.Warn("users", "fault", warning)
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("watch users: %w", err)
	}
	return nil
}
