package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"sipxrest/cmd/sipxrest/config"
)

// Serve starts a service and obeys signals until it has ended: HUP reloads; the
// first of the others drains, the second hangs up at once, the third gives up.
func Serve(cfg config.Config, log *slog.Logger, signals <-chan os.Signal) error {
	return serve(func() (*App, error) { return New(cfg, log) }, signals)
}

func serve(open func() (*App, error), signals <-chan os.Signal) error {
	type start struct {
		a   *App
		err error
	}
	started := make(chan start, 1)
	go func() { // its files may be on a disk that does not answer
		a, err := open()
		started <- start{a, err}
	}()
	for {
		select {
		case s := <-started:
			if s.err != nil {
				return s.err
			}
			return s.a.Serve(signals)
		case s := <-signals:
			if s != syscall.SIGHUP { // it is reading everything
				return errors.New("ended by a signal before it served")
			}
		}
	}
}

// Serve runs a service and obeys signals, see the function Serve.
func (a *App) Serve(signals <-chan os.Signal) error {
	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	asked := 0
	for {
		select {
		case err := <-ended:
			if r := a.reloads.running(); r != nil {
				waitFor(r.done, fileWait)
			}
			return err
		case s := <-signals:
			if s == syscall.SIGHUP {
				a.startReload() // it logs what becomes of it
				continue
			}
			switch asked++; asked {
			case 1:
				drain()
			case 2:
				a.HangUp()
			default:
				return errors.New("gave up at the third signal: calls may be left up")
			}
		}
	}
}

// notify tells systemd about the state of the service, where it wants to know.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }
