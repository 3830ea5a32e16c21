package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/restauth"
)

type userCommand struct {
	Hash hashCommand `cmd:"" help:"Hash a user's PIN and SIP password for the users' file."`
}

type hashCommand struct {
	User        string `arg:"" help:"User name, as in users.yaml."`
	Realm       string `placeholder:"NAME" help:"Digest realm. Default: that of the configuration."`
	Config      string `short:"c" placeholder:"FILE" help:"Configuration to take the realm from."`
	PIN         string `name:"pin" placeholder:"PIN" help:"The PIN. Others on this machine may see it while the command runs."`
	Bcrypt      bool   `help:"Hash the PIN by bcrypt. It is then for Basic over TLS only: Digest needs the other hashes."`
	SIPPassword string `name:"sip-password" placeholder:"SECRET" help:"The SIP password. Others on this machine may see it while the command runs."`
}

// Help is what user hash --help adds.
func (*hashCommand) Help() string {
	return `Without --pin and --sip-password both are asked for; nothing is shown while they
are typed. From a pipe the first line is the PIN, the second the SIP password.
An empty one is left out. The hashes hold for this user name and realm only.

Examples:

  sipxrest user hash 201 --realm pbx.example
  sipxrest user hash 201 --realm pbx.example --bcrypt
  printf '1234\nsecret\n' | sipxrest user hash 201 --realm pbx.example >> users.yaml`
}

// Run prints a user with hashed secrets.
func (c *hashCommand) Run(w world) error {
	if c.User == "" || strings.ContainsAny(c.User, ":@\"") {
		return fmt.Errorf("%q is not a user name: write it without domain, colon and quotes", c.User)
	}
	realm := c.Realm
	if realm == "" {
		cfg, err := config.Load(config.Source{File: c.Config, Environ: w.environ})
		if realm = cfg.Realm; realm == "" {
			realm = cfg.Domain
		}
		if realm == "" && errors.Is(err, config.ErrNoConfig) {
			return errors.New("the realm is unknown, for there is no configuration here: add --realm NAME or --config FILE")
		}
		if realm == "" {
			return fmt.Errorf("the realm is unknown, add --realm NAME (%w)", err)
		}
	}
	pin, password := c.PIN, c.SIPPassword
	if pin == "" && password == "" {
		var err error
		if pin, password, err = askSecrets(w); err != nil {
			return err
		}
	}
	if pin == "" && password == "" {
		return errors.New("neither a PIN nor a SIP password was given")
	}
	if !c.Bcrypt || pin == "" {
		_, err := io.WriteString(w.stdout, config.HashedUser(c.User, realm, pin, password))
		return err
	}
	hash, err := restauth.HashPIN(pin)
	if err != nil {
		return fmt.Errorf("PIN: %w", err)
	}
	_, err = fmt.Fprintf(w.stdout, "%s  pin-bcrypt: %q\n", config.HashedUser(c.User, realm, "", password), hash)
	return err
}

// askSecrets asks for both secrets, twice each at a terminal.
func askSecrets(w world) (pin, password string, err error) {
	in := secrets(w)
	if pin, err = askSecret(w, in, "PIN (empty for none)"); err != nil {
		return "", "", err
	}
	password, err = askSecret(w, in, "SIP password (empty for none)")
	return pin, password, err
}
