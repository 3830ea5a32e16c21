package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sipxrest/internal/datafile"
	"sipxrest/internal/limit"
	"sipxrest/internal/watch"
)

// KeysFile is the name of the file with the keys, in the data directory.
const KeysFile = "api-keys.json"

// maxKeysFile bounds that file, in bytes.
const maxKeysFile = 4 << 20

// Keys are the API keys: those of the configuration, and those of a file that the
// command line writes. Its methods may be called from any goroutine.
type Keys struct {
	file  string // "" for none
	fixed []Key
	now   atomic.Pointer[keySet]

	reading sync.Mutex // held while the file is read
}

// OpenKeys reads the keys of file, which need not be there, beside those that are
// fixed.
func OpenKeys(file string, fixed []Key) (*Keys, error) {
	k := &Keys{file: file, fixed: slices.Clone(fixed)}
	for i := range k.fixed {
		k.fixed[i].Fixed = true
	}
	return k, k.Reload()
}

// find returns the key of a hash; nil for none. What is looked up is a hash: how
// long it takes tells nothing of any key.
func (k *Keys) find(sum [32]byte) *Key {
	if k == nil {
		return nil
	}
	return k.now.Load().byHash[sum]
}

// Len is the number of keys.
func (k *Keys) Len() int { return len(k.now.Load().all) }

// Named returns the key of a name; nil for none.
func (k *Keys) Named(name string) *Key {
	for _, key := range k.now.Load().all {
		if key.Name == name {
			return key
		}
	}
	return nil
}

// Reload reads the file again. After an error the keys stay as they were.
func (k *Keys) Reload() error {
	k.reading.Lock()
	defer k.reading.Unlock()
	var listed []Key
	if k.file != "" {
		var err error
		if listed, err = ReadKeys(k.file); err != nil {
			return err
		}
	}
	set, err := newKeySet(append(slices.Clone(k.fixed), listed...))
	if err != nil {
		return fmt.Errorf("%s: %w", k.file, err)
	}
	k.now.Store(set)
	return nil
}

// keysSettle is the pause after the first sign of a change of the file.
const keysSettle = 200 * time.Millisecond

// Watch reads the file again when it changes, until ctx ends.
func (k *Keys) Watch(ctx context.Context, log *slog.Logger) error {
	if k.file == "" {
		<-ctx.Done()
		return nil
	}
	last := ""
	return watch.Folders(ctx, watch.FoldersOf([]string{k.file}), keysSettle, log, func() bool {
		state := ""
		if info, err := os.Stat(k.file); err == nil {
			state = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
		}
		if state == last {
			return false
		}
		last = state
		if err := k.Reload(); err != nil {
			log.Error("API keys stay as they were", "error", err)
			return false
		}
		log.Debug("API keys read", "keys", k.Len())
		return false
	})
}

// keysDocument is what the file holds.
type keysDocument struct {
	Keys []Key `json:"keys"`
}

// ReadKeys reads a file with keys; one that is not there has none.
func ReadKeys(file string) ([]Key, error) {
	data, err := limit.ReadFile(file, maxKeysFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // of a data-dir that is none others tell
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("API keys: %w", err)
	}
	var d keysDocument
	if why := parse(data, &d); why != nil {
		text := why.Detail
		for _, e := range why.Errors {
			text += " " + e.Pointer + ": " + e.Detail
		}
		return nil, fmt.Errorf("%s: %s", file, text)
	}
	if _, err := newKeySet(d.Keys); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return d.Keys, nil
}

// ChangeKeys changes the file with keys as a whole, so that a reader sees either
// the old one or the new one. Only one change is made at a time.
func ChangeKeys(file string, change func([]Key) ([]Key, error)) error {
	next := file + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there: another command is changing the keys. If none is, remove that file", next)
	}
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		_ = os.Remove(next) // it is not there any more when all went well
	}()
	keys, err := ReadKeys(file)
	if err != nil {
		return err
	}
	if keys, err = change(keys); err != nil {
		return err
	}
	if _, err := newKeySet(slices.Clone(keys)); err != nil {
		return err
	}
	data, err := json.MarshalIndent(keysDocument{keys}, "", "  ")
	if err != nil {
		return err
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		return err
	}
	datafile.GiveToOwner(f, filepath.Dir(file))
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(next, file)
}

// ParseExpiry reads when a key ends: a day, whose end it is, a time of RFC 3339, or
// a number of days from now on, "90d".
func ParseExpiry(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok && !now.IsZero() {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			return now.Add(time.Duration(n) * 24 * time.Hour).UTC().Truncate(time.Second), nil
		}
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.Add(24 * time.Hour), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.40q: write a day such as 2027-12-31, or a time such as 2027-12-31T12:00:00Z", text)
	}
	return at, nil
}

// SetFixed replaces the keys of the configuration.
func (k *Keys) SetFixed(fixed []Key) error {
	k.reading.Lock()
	before := k.fixed
	k.fixed = slices.Clone(fixed)
	for i := range k.fixed {
		k.fixed[i].Fixed = true
	}
	k.reading.Unlock()
	err := k.Reload()
	if err != nil {
		k.reading.Lock()
		k.fixed = before
		k.reading.Unlock()
	}
	return err
}
