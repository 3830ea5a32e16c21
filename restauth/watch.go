package restauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long after the first sign of a change the files are read: an
// editor or an installer touches a file several times.
const settle = 300 * time.Millisecond

// Watch reloads the users whenever a file is written or replaced, until ctx
// ends. A broken file is logged and the old users stay. It watches the
// folders, because a file that is replaced by renaming is another file. The
// error says that watching could not begin.
func (u *Users) Watch(ctx context.Context, log *slog.Logger) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch users: %w", err)
	}
	defer watcher.Close()
	seen := map[string]bool{}
	for _, file := range u.cfg.Files {
		dirs := []string{filepath.Dir(file)}
		if target, err := filepath.EvalSymlinks(file); err == nil {
			dirs = append(dirs, filepath.Dir(target))
		}
		for _, dir := range dirs {
			if seen[dir] {
				continue
			}
			seen[dir] = true
			if err := watcher.Add(dir); err != nil {
				return fmt.Errorf("watch users: %s: %w", dir, err)
			}
		}
	}

	last := u.now.Load().files // what was tried last
	due := time.After(0)       // a change between loading and watching
	gone := false              // the last look found no users
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-watcher.Events:
			if !ok {
				return nil
			}
			// Not restarted by the next event: a busy folder must not put the
			// reload off for ever.
			if due == nil {
				due = time.After(settle)
			}
		case err, ok := <-watcher.Errors:
			if !ok {
				return nil
			}
			// Events were lost: look for ourselves.
			log.Warn("watch users", "error", err)
			if due == nil {
				due = time.After(settle)
			}
		case <-due:
			due = nil
			states := statesOf(u.cfg.Files)
			if slices.Equal(states, last) {
				continue
			}
			last = states
			err := u.Reload()
			if errors.Is(err, errGone) && !gone { // perhaps it is just being written
				gone, last, due = true, nil, time.After(settle)
				continue
			}
			gone = false
			if err != nil {
				log.Error("users not reloaded, the old ones stay", "error", err)
				continue
			}
			log.Info("users reloaded", "users", u.Len())
			for _, warning := range u.Warnings() {
				log.Warn("users", "fault", warning)
			}
		}
	}
}
