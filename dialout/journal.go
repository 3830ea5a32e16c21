package dialout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"sipxrest/internal/fault"
	"sipxrest/internal/limit"
	"sipxrest/talk"
)

const (
	// maxEntries bounds how many calls of a former run are taken care of.
	maxEntries = 10_000
	// maxEntry bounds an entry, in bytes: a request of the signaling server has
	// at most 64 KiB, and JSON in JSON may need more room.
	maxEntry = 256 << 10
)

// An entry is what must be known of a call of Talk's to end it in another
// process. The number is not in it.
type entry struct {
	CallID  string          `json:"callid"`
	Server  string          `json:"server"`
	Backend string          `json:"backend"`
	RoomID  string          `json:"roomid"`
	Options json.RawMessage `json:"options"`
	// Connected: the phone was shown in the conversation, so that Nextcloud
	// learns its end from the signaling server.
	Connected bool      `json:"connected"`
	At        time.Time `json:"at"`

	open atomic.Int32 // what is still to be done at its end, see settle
}

// of makes it the entry of a call of Talk's.
func (e *entry) of(c *call) {
	t := c.talk
	e.CallID, e.Server, e.Backend, e.RoomID, e.Options, e.At = c.id, t.session.Server(), t.session.Backend().URL(), t.roomID, t.options.Raw, time.Now()
	e.open.Store(2)
}

// options are the request's, as far as Nextcloud wants them back.
func (e *entry) options() talk.Options {
	o, _ := talk.ReadOptions(e.Options) // Nextcloud says what is wrong with them
	return o
}

// A journal keeps one file for each call in a folder. An entry is there before
// the call is accepted and goes when nothing is left to be said of it. Calls
// are made when it cannot be written, too: it only matters after a crash, and a
// full disk should not silence the telephones. That is logged and counted.
type journal struct {
	dir      string // "" for none
	log      *slog.Logger
	failures atomic.Uint64
}

// openJournal makes the folder. An error says what to do.
func openJournal(dir string, log *slog.Logger) (*journal, error) {
	if dir == "" {
		return &journal{log: log}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &fault.Fault{Key: "data-dir", Err: fmt.Errorf("calls in progress cannot be noted there: %w: let the service write to it, and see that it has room", err)}
	}
	return &journal{dir: dir, log: log}, nil
}

// fileOf is the entry's file. Call ids are our own: nothing else gets here.
func (j *journal) fileOf(callID string) string { return filepath.Join(j.dir, callID+".json") }

// put writes an entry so that it is whole or not there, whatever happens.
func (j *journal) put(e *entry) {
	if j.dir == "" {
		return
	}
	if err := j.write(e); err != nil {
		j.failures.Add(1)
		j.log.Warn("a call cannot be noted: should this process be killed, Talk goes on showing it", "error", err)
	}
}

func (j *journal) write(e *entry) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	name := j.fileOf(e.CallID)
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		os.Remove(name + ".new")
		return err
	}
	return syncDir(j.dir)
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// remove forgets a call. That it comes back after a crash does no harm: it is
// only ended again.
func (j *journal) remove(callID string) {
	if j.dir == "" {
		return
	}
	if err := os.Remove(j.fileOf(callID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.failures.Add(1)
		j.log.Warn("a call that is over stays noted", "error", err)
	}
}

var entryName = regexp.MustCompile(`^[a-z0-9]{16,64}\.json$`)

// leftovers are the calls that an earlier process has not ended. What cannot be
// read is reported and removed.
func (j *journal) leftovers() (list []*entry) {
	if j.dir == "" {
		return nil
	}
	files, err := os.ReadDir(j.dir)
	if err != nil {
		j.log.Warn("calls of a former run cannot be read", "error", err)
		return nil
	}
	for _, f := range files {
		name := filepath.Join(j.dir, f.Name())
		switch {
		case strings.HasSuffix(f.Name(), ".json.new"): // killed while writing
			os.Remove(name)
			continue
		case !entryName.MatchString(f.Name()):
			continue // not ours
		case len(list) == maxEntries:
			j.log.Warn("more calls of a former run than are ended at once: the others are after the next start", "limit", maxEntries)
			return list
		}
		e, err := readEntry(name)
		if err != nil {
			j.log.Warn("a call of a former run cannot be read and is given up", "file", name, "error", err)
			os.Remove(name)
			continue
		}
		list = append(list, e)
	}
	return list
}

func readEntry(name string) (*entry, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // nor a link: entries are ours
		return nil, errors.New("not an entry: no plain file")
	}
	data, err := limit.ReadFile(name, maxEntry)
	if err != nil {
		return nil, err
	}
	e := new(entry)
	if err := json.Unmarshal(data, e); err != nil {
		return nil, errors.New("not JSON, or cut short")
	}
	if e.CallID+".json" != filepath.Base(name) || !roomPattern.MatchString(e.RoomID) || e.Server == "" || e.Backend == "" {
		return nil, errors.New("it lacks what an entry has")
	}
	return e, nil
}
