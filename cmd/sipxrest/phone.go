package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/phone"
	"sipxrest/restauth"
)

type phoneCommand struct {
	User phoneUserCommand `cmd:"" help:"The users of calls over WebSocket."`
}

type phoneUserCommand struct {
	Add         phoneAdd      `cmd:"" help:"Make a user; asks for the password."`
	List        phoneList     `cmd:"" help:"List the users."`
	Set         phoneSet      `cmd:"" help:"Change a user's names or access level."`
	SIP         phoneSIP      `cmd:"" name:"sip" help:"Give a user a SIP phone, or take it away."`
	SetPassword phonePassword `cmd:"" help:"Give a user another password, and log him out."`
	Delete      phoneDelete   `cmd:"" help:"Remove a user."`
	Favorite    phoneFavorite `cmd:"" help:"Have a user make others favourites: they may call him."`
	Unfavorite  phoneUnfavor  `cmd:"" help:"Take that back."`
	Block       phoneBlock    `cmd:"" help:"Have a user block others: neither may call the other."`
	Unblock     phoneUnblock  `cmd:"" help:"Take that back."`
	Mute        phoneMute     `cmd:"" help:"Have a user mute others: they may not call him."`
	Unmute      phoneUnmute   `cmd:"" help:"Take that back."`
	Import      phoneImport   `cmd:"" help:"Make users of those in users.yaml or validusers.xml."`
}

// phoneFlags say where the database is.
type phoneFlags struct {
	configFlags `embed:"" group:"Configuration (flags beat SIPXREST_… variables, which beat the file):"`
	Database    string `placeholder:"FILE" help:"The database. Default: phone.database, or phone.db in data-dir, of the configuration."`
}

// locate answers the file of the database, of which the service may have another
// if it is started otherwise: so it is said. Only those who make users make it.
func (f *phoneFlags) locate(w world, make bool) (file string, err error) {
	if file = f.Database; file == "" {
		src, err := f.source(w)
		if err != nil {
			return "", err
		}
		cfg, err := config.Load(src)
		if err != nil {
			if errors.Is(err, config.ErrNoConfig) {
				return "", errors.New("where is the database? There is no configuration here that says it: add --config FILE, or --database FILE")
			}
			return "", fmt.Errorf("the configuration, which says where the database is, cannot be used; correct it, or add --database FILE: %w", err)
		}
		file = cfg.PhoneDatabase()
	} else if file, err = filepath.Abs(file); err != nil {
		return "", err
	}
	switch _, err := os.Stat(file); {
	case errors.Is(err, fs.ErrPermission):
		return "", forOwner(err)
	case errors.Is(err, fs.ErrNotExist) && !make:
		return "", fmt.Errorf("there is no database %s: sipxrest phone user add NAME makes it. Has the service another one? Name it by --config, --data-dir or --database", file)
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(w.stderr, "database %s, which is new\n", file)
	default:
		fmt.Fprintf(w.stderr, "database %s\n", file)
	}
	return file, nil
}

// forOwner adds to an error what to do where the database is another user's.
func forOwner(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: it is for the service's user: use sudo", err)
	}
	return err
}

// with opens the database, also while the service uses it.
func (f *phoneFlags) with(w world, do func(context.Context, *phone.Store) error) error {
	file, err := f.locate(w, false)
	if err != nil {
		return err
	}
	return in(file, do)
}

func in(file string, do func(context.Context, *phone.Store) error) error {
	store, err := phone.Open(file)
	if err != nil {
		return forOwner(err)
	}
	return errors.Join(do(context.Background(), store), store.Close())
}

// names are what is shown of a user.
type phoneNames struct {
	DisplayName *string `placeholder:"NAME" help:"Name that others see."`
	Image       *string `placeholder:"NAME" help:"Name of an image, as the clients know it."`
	Pronoun     *string `placeholder:"TEXT" help:"Preferred pronoun."`
	Level       *string `placeholder:"LEVEL" help:"Access level: unverified, banned, quarantined, verified (default), client, moderator, twitarrteam, tho or admin."`
}

func (n *phoneNames) apply(u *phone.User) {
	for to, from := range map[*string]*string{&u.DisplayName: n.DisplayName, &u.Image: n.Image, &u.Pronoun: n.Pronoun, &u.Level: n.Level} {
		if from != nil {
			*to = *from
		}
	}
}

type phoneSecret struct {
	Password string `placeholder:"SECRET" help:"The password. Others on this machine may see it while the command runs."`
}

// ask answers the password: the flag's, or that which is typed.
func (s *phoneSecret) ask(w world) (string, error) {
	password := s.Password
	if password == "" {
		var err error
		if password, err = askSecret(w, secrets(w), "Password"); err != nil {
			return "", err
		}
	}
	return password, phone.CheckPassword(password)
}

type phoneAdd struct {
	phoneFlags
	phoneNames
	phoneSecret
	Name string `arg:"" help:"User name."`
	ID   string `name:"id" placeholder:"UUID" help:"The user's ID. Default: a new one."`
}

// Help is what phone user add --help adds.
func (*phoneAdd) Help() string {
	return `Without --password it is asked for; nothing is shown while it is typed. From a
pipe the first line is the password. The service may run meanwhile.

Examples:

  sipxrest phone user add sam --display-name 'Sam Smith'
  echo "$PASSWORD" | sipxrest phone user add kim --config /etc/sipxrest/sipxrest.yaml`
}

// Run makes the user.
func (c *phoneAdd) Run(w world) error {
	u := phone.User{Username: c.Name}
	c.apply(&u)
	if c.ID != "" {
		var ok bool
		if u.ID, ok = phone.ParseID(c.ID); !ok {
			return fmt.Errorf("--id %q is no UUID: write it as 6F9619FF-8B86-D011-B42D-00C04FC964FF", c.ID)
		}
	}
	file, err := c.locate(w, true)
	if err != nil {
		return err
	}
	password, err := c.ask(w)
	if err != nil {
		return err
	}
	return in(file, func(ctx context.Context, s *phone.Store) error {
		u, err := s.Add(ctx, u, password)
		if err == nil {
			fmt.Fprintf(w.stdout, "%s %s %s\n", u.ID, u.Username, u.Level)
		}
		return err
	})
}

type phoneList struct{ phoneFlags }

// Run prints a line for each user.
func (c *phoneList) Run(w world) error {
	return c.with(w, func(ctx context.Context, s *phone.Store) error {
		users, err := s.List(ctx)
		for _, u := range users {
			line := fmt.Sprintf("%s %-20s %-12s %s %s", u.ID, u.Username, u.Level, u.DisplayName, u.SIP)
			fmt.Fprintln(w.stdout, strings.TrimRight(line, " "))
		}
		return err
	})
}

type phoneSet struct {
	phoneFlags
	phoneNames
	Name   string `arg:"" help:"User name or UUID."`
	Rename string `placeholder:"NAME" help:"New user name."`
}

// Run changes the user.
func (c *phoneSet) Run(w world) error {
	return c.with(w, func(ctx context.Context, s *phone.Store) error {
		u, err := s.Find(ctx, c.Name)
		if err != nil {
			return err
		}
		c.apply(&u)
		u.Username = cmp.Or(c.Rename, u.Username)
		return s.Update(ctx, u)
	})
}

type phoneSIP struct {
	phoneFlags
	Name    string `arg:"" help:"User name or UUID."`
	Address string `arg:"" optional:"" placeholder:"sip:USER@HOST" help:"The phone's SIP address."`
	None    bool   `help:"He has no SIP phone any more."`
}

// Help is what phone user sip --help adds.
func (*phoneSIP) Help() string {
	return `Calls to the user ring that phone, too, and calls from it are his; for both see
phone.sip in the configuration.

Example:

  sipxrest phone user sip sam sip:201@example.com`
}

// Run sets the address.
func (c *phoneSIP) Run(w world) error {
	if (c.Address == "") != c.None {
		return errors.New("write the SIP address, such as sip:201@example.com, or --none")
	}
	return c.with(w, func(ctx context.Context, s *phone.Store) error {
		u, err := s.Find(ctx, c.Name)
		if err != nil {
			return err
		}
		return s.SetSIP(ctx, u.ID, c.Address)
	})
}

type phonePassword struct {
	phoneFlags
	phoneSecret
	Name string `arg:"" help:"User name or UUID."`
}

// Run sets the password.
func (c *phonePassword) Run(w world) error {
	file, err := c.locate(w, false)
	if err != nil {
		return err
	}
	password, err := c.ask(w)
	if err != nil {
		return err
	}
	return in(file, func(ctx context.Context, s *phone.Store) error {
		u, err := s.Find(ctx, c.Name)
		if err != nil {
			return err
		}
		return s.SetPassword(ctx, u.ID, password)
	})
}

type phoneDelete struct {
	phoneFlags
	Name string `arg:"" help:"User name or UUID."`
}

// Run removes the user.
func (c *phoneDelete) Run(w world) error {
	return c.with(w, func(ctx context.Context, s *phone.Store) error {
		u, err := s.Find(ctx, c.Name)
		if err != nil {
			return err
		}
		return s.Delete(ctx, u.ID)
	})
}

// phonePair is a user and those of whom he says something.
type phonePair struct {
	phoneFlags
	Name   string   `arg:"" help:"User name or UUID."`
	Others []string `arg:"" help:"User names or UUIDs of the others."`
}

func (c *phonePair) change(w world, do func(s *phone.Store, ctx context.Context, user, other phone.ID) error) error {
	return c.with(w, func(ctx context.Context, s *phone.Store) error {
		u, err := s.Find(ctx, c.Name)
		if err != nil {
			return err
		}
		for _, name := range c.Others {
			other, err := s.Find(ctx, name)
			if err == nil {
				err = do(s, ctx, u.ID, other.ID)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *phonePair) relate(w world, r phone.Relation) error {
	return c.change(w, func(s *phone.Store, ctx context.Context, user, other phone.ID) error {
		return s.Relate(ctx, r, user, other)
	})
}

func (c *phonePair) unrelate(w world, r phone.Relation) error {
	return c.change(w, func(s *phone.Store, ctx context.Context, user, other phone.ID) error {
		return s.Unrelate(ctx, r, user, other)
	})
}

type (
	phoneFavorite struct{ phonePair }
	phoneUnfavor  struct{ phonePair }
	phoneBlock    struct{ phonePair }
	phoneUnblock  struct{ phonePair }
	phoneMute     struct{ phonePair }
	phoneUnmute   struct{ phonePair }
)

// Run says it.
func (c *phoneFavorite) Run(w world) error { return c.relate(w, phone.Favorite) }

// Run takes it back.
func (c *phoneUnfavor) Run(w world) error { return c.unrelate(w, phone.Favorite) }

// Run says it.
func (c *phoneBlock) Run(w world) error { return c.relate(w, phone.Block) }

// Run takes it back.
func (c *phoneUnblock) Run(w world) error { return c.unrelate(w, phone.Block) }

// Run says it.
func (c *phoneMute) Run(w world) error { return c.relate(w, phone.Mute) }

// Run takes it back.
func (c *phoneUnmute) Run(w world) error { return c.unrelate(w, phone.Mute) }

type phoneImport struct {
	phoneFlags
	PasswordFromPIN bool `name:"password-from-pin" help:"Make the PIN the password where the files have it in the clear. PINs are short: not for services that strangers reach."`
}

// Help is what phone user import --help adds.
func (*phoneImport) Help() string {
	return `Makes a user for each one of "users" that there is none of that name for, with
his user name, display name and a random password, which is printed once:

  201 3ZK7-QWXM-5T2D-YB6H

Hand it to him, or set another by sipxrest phone user set-password. A hashed PIN
is never a password: it cannot be turned back into what a user would type.
Nobody is anybody's favourite yet.

Examples:

  sipxrest phone user import > passwords.txt
  sipxrest phone user import --users /etc/sipxpbx/validusers.xml --domain pbx.example`
}

// Run makes the users.
func (c *phoneImport) Run(w world) error {
	src, err := c.source(w)
	if err != nil {
		return err
	}
	cfg, err := config.Load(src)
	if err != nil {
		return err
	}
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: cfg.Domain, Realm: cfg.Realm, Files: cfg.Users})
	if err != nil {
		return err
	}
	file, err := c.locate(w, true)
	if err != nil {
		return err
	}
	return in(file, func(ctx context.Context, s *phone.Store) error {
		made, there := 0, 0
		for from := range users.All() {
			password, shown := randomPassword(), true
			if pin := from.ClearPIN(); pin != "" && c.PasswordFromPIN {
				password, shown = pin, false
			}
			u, err := s.Add(ctx, phone.User{Username: from.Name, DisplayName: from.DisplayName}, password)
			switch {
			case errors.Is(err, phone.ErrUserExists):
				there++
				continue
			case err != nil:
				fmt.Fprintln(w.stderr, "left out:", err)
				continue
			}
			made++
			if !shown {
				password = "(PIN)"
			}
			fmt.Fprintf(w.stdout, "%s %s\n", u.Username, password)
		}
		fmt.Fprintf(w.stderr, "%d users made, %d were there\n", made, there)
		return nil
	})
}

// randomPassword answers 80 random bits as people can type them.
func randomPassword() string {
	var b [10]byte
	rand.Read(b[:]) // never fails
	text := base32.StdEncoding.EncodeToString(b[:])
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}

// maxSecret bounds a secret that is typed, or comes from a pipe, in bytes.
const maxSecret = 4096

// secrets reads those that are typed, or come from a pipe.
func secrets(w world) *bufio.Reader { return bufio.NewReader(io.LimitReader(w.stdin, 4*maxSecret)) }

// askSecret asks for a secret, twice at a terminal.
func askSecret(w world, in *bufio.Reader, what string) (string, error) {
	file, _ := w.stdin.(*os.File)
	var answers [2]string
	for i, again := range []string{"", " again"} {
		shown := file == nil || !isTerminal(file)
		if !shown {
			fmt.Fprintf(w.stderr, "%s%s: ", what, again)
			restore, err := hideInput(file)
			if err != nil {
				return "", err
			}
			defer restore()
		}
		line, err := in.ReadString('\n')
		if err != nil && (err != io.EOF) {
			return "", fmt.Errorf("%s: %w", what, err)
		}
		if len(line) > maxSecret {
			return "", fmt.Errorf("%s: it has more than %d bytes", what, maxSecret)
		}
		answers[i] = strings.TrimRight(line, "\r\n")
		if shown || answers[i] == "" && i == 0 {
			return answers[0], nil
		}
	}
	if answers[0] != answers[1] {
		return "", fmt.Errorf("%s: the two differ", what)
	}
	return answers[0], nil
}
