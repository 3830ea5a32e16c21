package check

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/config"
)

// api looks whether events can be kept, and at the keys.
func (c *checker) api(cfg *config.Config) {
	if !cfg.EventsInUse() {
		return
	}
	c.events(cfg)
	if !cfg.API.Enabled {
		return
	}
	keys, err := api.OpenKeys(cfg.KeysFile(), cfg.API.Keys)
	if err != nil {
		c.say(levelProblem, "api", "%v", err)
		return
	}
	if keys.Len() > 0 && cfg.APIConfig().TLSPort == "" {
		c.say(levelWarning, "api", "%s, but no listener of http has tls: keys are taken from this machine only", count(keys.Len(), "key"))
		return
	}
	c.say(levelOK, "api", "served at /v1, %s", count(keys.Len(), "key"))
}

// events tries whether the file of events could be written. A service that runs holds
// it, so nothing is written to it.
func (c *checker) events(cfg *config.Config) {
	file := cfg.EventsFile()
	if file == config.EventsInMemory {
		c.say(levelNote, "events", "kept in memory: a restart forgets events, ended calls and idempotency keys")
		return
	}
	warn := func(err error) {
		c.say(levelWarning, "events", "%s: %v: events would be kept in memory, and a restart forget them", cfg.Origin("events.store"), err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	switch {
	case err == nil:
		info, err := f.Stat()
		f.Close()
		if err == nil && !info.Mode().IsRegular() {
			warn(errors.New(file + " is no file"))
			return
		}
		c.say(levelOK, "events", "kept in %s%s", file, orStateDir(cfg))
		return
	case errors.Is(err, syscall.ENOTDIR) && cfg.Events.Store == "":
		return // told of data-dir
	case !errors.Is(err, fs.ErrNotExist):
		warn(err)
		return
	}
	// It will be made: in its folder, or in the nearest one that there is.
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
			continue
		case cfg.Events.Store == "" && (err != nil || !info.IsDir()):
			return // told of data-dir
		case err != nil:
			warn(err)
			return
		case !info.IsDir():
			warn(errors.New(dir + " is no folder"))
			return
		}
		probe, err := os.CreateTemp(dir, ".sipxrest-check-")
		if err != nil {
			if cfg.Events.Store != "" { // else told of data-dir
				warn(err)
			}
			return
		}
		probe.Close()
		_ = os.Remove(probe.Name())
		c.say(levelOK, "events", "will be kept in %s%s", file, orStateDir(cfg))
		return
	}
}
