package restauth

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/internal/digest"
	"sipxrest/internal/limit"
	"sipxrest/restauth/imdb"
)

// UsersConfig says where the users are.
type UsersConfig struct {
	Domain string // the SIP domain; users without an identity get it
	Realm  string // the realm of the stored hashes; default: Domain
	// Files are users.yaml, validusers.xml, htpasswd and htdigest files and exports of
	// sipXcom's database, told apart by name and content, and URLs of such databases.
	Files []string
	// CheckPolicy says what is wrong with the name of a policy in a users.yaml;
	// nil takes every name.
	CheckPolicy func(name string) error
}

// Users is the list of users. It reads a snapshot that Reload
// replaces as a whole; its methods may be called from any goroutine.
type Users struct {
	cfg UsersConfig
	now atomic.Pointer[snapshot]

	files     []string    // those of cfg.Files that are no databases
	databases []*database // the others, in their order

	reloading sync.Mutex // held while files and databases are read
}

// snapshot is one state of the files. It is never changed.
type snapshot struct {
	*directory
	policies bool        // some user has one of his own
	sha256   bool        // every PIN that Digest can check can be by SHA-256
	crypt    string      // the costliest hash of a PIN that Basic alone can check; "" if there is none
	files    []fileState // what was read, by Users.files
	warnings []string    // faults of what sipXecs wrote, at most maxWarnings
}

// LoadUsers reads the files of cfg. An error names the file and the line,
// and never holds a PIN or a password.
func LoadUsers(cfg UsersConfig) (*Users, error) {
	if cfg.Domain == "" {
		return nil, errors.New("users: no domain: set domain")
	}
	if cfg.Realm == "" {
		cfg.Realm = cfg.Domain
	}
	u := &Users{cfg: cfg}
	for _, name := range cfg.Files {
		if !imdb.IsURL(name) {
			u.files = append(u.files, name)
			continue
		}
		d, err := openDatabase(name)
		if err != nil {
			return nil, err
		}
		u.databases = append(u.databases, d)
	}
	if err := u.Reload(); err != nil {
		return nil, err
	}
	return u, nil
}

// errGone refuses a reload to nobody at all.
var errGone = errors.New("users: the files hold no users any more")

// Reload reads files and databases again. After an error the users of a database
// that cannot be read stay as they were. After any other all users do, and so they
// do when there are none any more: a file that is just being written is empty for a
// moment.
func (u *Users) Reload() error {
	u.reloading.Lock()
	defer u.reloading.Unlock()
	first := u.now.Load() == nil
	var errs []error
	for _, d := range u.databases {
		if err := d.reread(); err != nil {
			errs = append(errs, fmt.Errorf("users: %w", err))
		}
	}
	if first && len(errs) > 0 {
		return fmt.Errorf("%w: the service starts when the database can be read", errors.Join(errs...))
	}
	return errors.Join(append(errs, u.reread())...)
}

// reread reads the files again; of the databases it takes what was read last. The
// caller holds reloading.
func (u *Users) reread() error {
	next, err := u.read()
	if err != nil {
		return err
	}
	if before := u.now.Load(); before != nil && len(before.users) > 0 && len(next.users) == 0 {
		return fmt.Errorf("%w: the %d that there were stay until a restart", errGone, len(before.users))
	}
	u.now.Store(next)
	return nil
}

// Len is the number of users.
func (u *Users) Len() int { return len(u.now.Load().users) }

// All yields the users in the order of the files: those there were when the
// iteration began, whatever is reloaded meanwhile.
func (u *Users) All() iter.Seq[*User] {
	return func(yield func(*User) bool) {
		s := u.now.Load()
		for i := range s.users {
			if !yield(s.user(i)) {
				return
			}
		}
	}
}

// HavePolicies reports whether there is a user with a policy of his own.
func (u *Users) HavePolicies() bool { return u.now.Load().policies }

// Lookup finds a user by user name or alias, with or without the domain. As
// in SIP, user names are case-sensitive and the domain is not.
func (u *Users) Lookup(text string) (*User, bool) {
	user := u.now.Load().lookup(text, u.cfg.Domain)
	return user, user != nil
}

func (s *snapshot) lookup(text, domain string) *User {
	return s.find(trimDomain(text, domain))
}

// trimDomain cuts "@domain" off text.
func trimDomain(text, domain string) string {
	if at := len(text) - len(domain) - 1; at > 0 && text[at] == '@' && strings.EqualFold(text[at+1:], domain) {
		return text[:at]
	}
	return text
}

// Warnings are the faults of the files that did not stop them from being
// loaded, such as an alias that validusers.xml gives to two users: the first
// has it.
func (u *Users) Warnings() []string { return u.now.Load().warnings }

// entry is a user as a file gives it.
type entry struct {
	User
	where  string // file and line, or number
	strict bool   // a name that is taken is an error, not a warning
	// pinOnly: a line of htpasswd or htdigest, which may be about a user of another file.
	pinOnly bool
}

const (
	// maxUsersFile bounds a file with users, in bytes; maxYAML one in YAML, whose
	// reader takes thirty times as much memory.
	maxUsersFile = 64 << 20
	maxYAML      = 16 << 20
)

// advised adds to the error of a file that cannot be read what to do about it.
func advised(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: name an existing file under users", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: whoever runs sipxrest must be able to read it: the service by chgrp sipxrest FILE and chmod 640 FILE, a command by sudo", err)
	case errors.Is(err, limit.ErrTooLarge):
		return fmt.Errorf("%w: put the users into several files, and name each under users", err)
	}
	return err
}

// maxWarnings bounds what is said of one broken file.
const maxWarnings = 20

func (u *Users) read() (*snapshot, error) {
	var (
		cfg       = u.cfg
		entries   []entry
		faults    []string
		files     = statesOf(u.files) // before reading, so that a change while we read is one afterwards
		databases = u.databases
	)
	for _, name := range cfg.Files {
		if imdb.IsURL(name) {
			read, wrong := imdbEntries(databases[0].String(), databases[0].last)
			entries, faults, databases = append(entries, read...), append(faults, wrong...), databases[1:]
			continue
		}
		data, err := limit.ReadFile(name, maxUsersFile)
		if err != nil {
			return nil, fmt.Errorf("users: %w", advised(err))
		}
		var read []entry
		if isXML(name, data) {
			var wrong []string
			read, wrong, err = readXML(name, data)
			faults = append(faults, wrong...)
		} else if imdb.IsExport(data) {
			var exported *imdb.Users
			if exported, err = imdb.ReadExport(data); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			var wrong []string
			read, wrong = imdbEntries(name, exported)
			faults = append(faults, wrong...)
		} else if kind := htKindOf(name, data); kind != noHT {
			var wrong []string
			read, wrong, err = readHT(name, data, kind, cfg.Realm)
			faults = append(faults, wrong...)
		} else {
			read, err = readYAML(name, data, cfg.CheckPolicy)
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, read...)
	}
	entries, err := adopt(entries)
	if err != nil {
		return nil, err
	}
	next, err := index(entries, cfg)
	if err != nil {
		return nil, err
	}
	next.files = files
	for _, fault := range faults {
		next.warn(fault)
	}
	return next, nil
}

func (s *snapshot) warn(fault string) {
	if len(s.warnings) < maxWarnings {
		s.warnings = append(s.warnings, fault)
	}
}

// index builds the snapshot of entries, in which no name means two users.
func index(entries []entry, cfg UsersConfig) (*snapshot, error) {
	names := len(entries)
	for i := range entries {
		names += len(entries[i].Aliases)
	}
	s := new(snapshot)
	users := make([]User, len(entries))
	byName := make(map[string]*User, names)
	// taken tells an error where the other one is; the map of it is not kept.
	taken := make(map[*User]string, len(entries))
	claim := func(e *entry, user *User, what, name string) error {
		first, dup := byName[name]
		if !dup {
			byName[name] = user
			return nil
		}
		if first == user {
			return nil // an alias that repeats the user's own name
		}
		clash := fmt.Sprintf("%s: %s %q of user %q is taken by user %q (%s)", e.where, what, name, e.Name, first.Name, taken[first])
		if e.strict {
			return errors.New(clash + ": remove one of them")
		}
		s.warn(clash)
		return nil
	}

	pins := false
	s.sha256 = true
	for i := range entries {
		e := &entries[i]
		user := &users[i]
		*user = e.User
		s.policies = s.policies || user.Policy != ""
		if user.Identity == "" {
			user.Identity = user.Name + "@" + cfg.Domain
		}
		user.pin = user.pin.withoutEmpty(user.Name, cfg.Realm)
		switch {
		case user.digests():
			pins = true
			s.sha256 = s.sha256 && user.can(digest.SHA256)
		case user.pin.crypt != "":
			if s.crypt == "" || cryptCost(user.pin.crypt) > cryptCost(s.crypt) {
				s.crypt = user.pin.crypt
			}
		}
		taken[user] = e.where
		if err := claim(e, user, "name", user.Name); err != nil {
			return nil, err
		}
	}
	// User names first: a user's own name beats an alias of somebody else.
	for i := range entries {
		for _, alias := range entries[i].Aliases {
			if err := claim(&entries[i], &users[i], "alias", trimDomain(alias, cfg.Domain)); err != nil {
				return nil, err
			}
		}
	}
	s.sha256 = s.sha256 && pins
	s.directory = newDirectory(users, byName)
	return s, nil
}

// fileState tells whether a file was replaced or written.
type fileState struct {
	size    int64
	changed time.Time
	target  string // where symbolic links lead
}

func stateOf(name string) fileState {
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return fileState{}
	}
	info, err := os.Stat(target)
	if err != nil {
		return fileState{}
	}
	return fileState{info.Size(), info.ModTime(), target}
}

func statesOf(names []string) []fileState {
	states := make([]fileState, len(names))
	for i, name := range names {
		states[i] = stateOf(name)
	}
	return states
}

// LogValue tells how many users there are.
func (u *Users) LogValue() slog.Value { return slog.IntValue(u.Len()) }
