package app

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"

	"sipxrest/cmd/sipxrest/config"
)

// A reload is one reading of the files again. done is closed when it is over;
// the others are written before.
type reload struct {
	done chan struct{}
	// waiting names the keys that have changed and wait for a restart.
	waiting []string
	err     error // what could not be read, and stays as it was
}

// reloads runs one reload at a time. What is asked for meanwhile is one more
// after it: a file may have changed since it was read.
type reloads struct {
	mu    sync.Mutex
	now   *reload // guarded by mu; nil for none
	after *reload // guarded by mu; nil for none
}

// startReload reads everything again, beside whatever else goes on: a file
// system that does not answer must not keep signals waiting.
func (a *App) startReload() *reload {
	s := &a.reloads
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &reload{done: make(chan struct{})}
	switch {
	case s.now == nil:
		s.now = r
		go a.runReload(r)
	case s.after == nil:
		s.after = r
	default:
		return s.after
	}
	return r
}

func (a *App) runReload(r *reload) {
	for r != nil {
		a.readAgain(r)
		s := &a.reloads
		s.mu.Lock()
		s.now, s.after = s.after, nil
		close(r.done)
		r = s.now
		s.mu.Unlock()
	}
}

// running is the reload that goes on; nil for none.
func (s *reloads) running() *reload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Reload reads the users, the policies, the certificates and the rules of calls
// that come in again. What cannot be read stays as it was; the error says why.
func (a *App) Reload() error {
	r := a.startReload()
	<-r.done
	return r.err
}

// readAgain does it, and says what became of it.
func (a *App) readAgain(r *reload) {
	notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec() + "STATUS=Reads its files again")
	next, err := a.nextConfig(r)
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("configuration: %w", err))
	}
	for _, f := range a.features {
		if f.reload != nil {
			errs = append(errs, f.reload(next))
		}
	}
	r.err = errors.Join(errs...)
	if r.err != nil {
		a.log.Error("reload failed, what could not be read stays as it was", "error", r.err)
	} else {
		a.log.Info("reloaded", "users", a.users.Len(), "certificates", len(a.certificates))
	}
	if len(r.waiting) > 0 {
		a.log.Warn("changed keys wait for a restart", "keys", r.waiting)
	}
	notify(daemon.SdNotifyReady + "\nSTATUS=" + a.status(r))
}

// maxStatus bounds a status, in bytes: systemd drops messages of more than 4 KiB.
const maxStatus = 1000

// status is what `systemctl status` shows. r is the last reload, nil for none.
func (a *App) status(r *reload) string {
	text := fmt.Sprintf("Serves %s, %s", a.cfg.Domain, usersInWords(a.users.Len()))
	if r != nil && r.err != nil {
		text = "The reload failed, what could not be read stays as it was: " + r.err.Error()
	} else if r != nil && len(r.waiting) > 0 {
		text += "; keys that wait for a restart: " + strings.Join(r.waiting, ", ")
	}
	if len(text) > maxStatus {
		text = strings.ToValidUTF8(text[:maxStatus], "") + "…"
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

func usersInWords(n int) string {
	if n == 1 {
		return "1 user"
	}
	return fmt.Sprintf("%d users", n)
}

// nextConfig reads the configuration again: what the service runs by, with those
// keys as they are now that it takes while it runs. It is nil where there is
// nothing to read.
func (a *App) nextConfig(r *reload) (*config.Config, error) {
	if a.cfg.Again == nil {
		return nil, nil
	}
	read, err := a.cfg.Again()
	if err != nil {
		return nil, err
	}
	r.waiting = a.waiting(&read)
	return a.cfg.With(&read), nil
}

// waiting names the keys of read that differ from those that the service runs by,
// and are taken by a restart only.
func (a *App) waiting(read *config.Config) (keys []string) {
	for _, key := range a.cfg.Differences(read) {
		atOnce := config.TakenAtOnce(key)
		if strings.HasPrefix(key, "dispatch.") {
			atOnce = a.dispatch != nil
		}
		if !atOnce {
			keys = append(keys, key)
		}
	}
	for _, f := range a.features {
		if f.waits != nil {
			keys = append(keys, f.waits(read)...)
		}
	}
	return keys
}
