package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Serve runs the service and obeys signals: HUP reloads; the first of the
// others drains, the second hangs up at once, the third gives up.
func (a *App) Serve(signals <-chan os.Signal) error {
	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	asked := 0
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			if s == syscall.SIGHUP {
				_ = a.Reload() // it has logged the error
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

// monotonic answers what systemd wants with RELOADING=1 (Type=notify-reload).
func monotonic() string {
	if runtime.GOOS != "linux" {
		return ""
	}
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return ""
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", time.Duration(t.Nano()).Microseconds())
}
