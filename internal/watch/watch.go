// Package watch notices that files have changed: users, rules, certificates.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Folders calls look once, for what may have changed since the files were read,
// and then whenever something happens in one of the folders, until ctx ends. It
// waits for settle after the first sign of a change, since an editor or an
// installer touches files several times. If look returns true it is called
// again after settle. The error says that watching could not begin.
func Folders(ctx context.Context, folders []string, settle time.Duration, log *slog.Logger, look func() (again bool)) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return advised(err)
	}
	defer watcher.Close()
	for _, dir := range folders {
		if err := watcher.Add(dir); err != nil {
			return fmt.Errorf("%s: %w", dir, advised(err))
		}
	}
	due := time.After(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-watcher.Events:
			if !ok {
				return nil
			}
		case err, ok := <-watcher.Errors:
			if !ok {
				return nil
			}
			log.Warn("changes of files may have been missed: looking at them all", "error", err)
		case <-due:
			due = nil
			if !look() {
				continue
			}
		}
		if due == nil { // a busy folder must not put it off for ever
			due = time.After(settle)
		}
	}
}

// advised says what the kernel means: its words are of files and disks.
func advised(err error) error {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%w: too many programs of this user watch files: sysctl -w fs.inotify.max_user_instances=1024", err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: too many folders are watched: sysctl -w fs.inotify.max_user_watches=1048576", err)
	}
	return err
}

// FoldersOf are the folders that tell of changes of files: those that the files
// are in, for one that is replaced is another file, and those that links lead to.
func FoldersOf(files []string) (folders []string) {
	for _, file := range files {
		folders = append(folders, filepath.Dir(file))
		if target, err := filepath.EvalSymlinks(file); err == nil {
			folders = append(folders, filepath.Dir(target))
		}
	}
	slices.Sort(folders)
	return slices.Compact(folders)
}
