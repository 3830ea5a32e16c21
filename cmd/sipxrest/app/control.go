package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/version"
	"sipxrest/cmd/sipxrest/web"
)

// controlFile is the socket in data-dir at which a running service is asked by
// `sipxrest reload` and `sipxrest check`. Only root and the service's user may.
const controlFile = "control.sock"

const (
	// controlConnections bounds who asks at a time.
	controlConnections = 16
	// controlWait is how long a command waits for the service, and reloadWait for
	// a reload, whose files may be many.
	controlWait = 5 * time.Second
	reloadWait  = time.Minute
	// maxControl bounds an answer of the service, in bytes.
	maxControl = 1 << 20
)

// Running is what a service tells of itself.
type Running struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	// Sockets are those that it holds: "tcp:[::]:6666", "udp:192.0.2.1:6050".
	Sockets []string `json:"sockets"`
	// NotReady lists why it takes no new calls now.
	NotReady []string `json:"not_ready,omitempty"`
}

// reloaded is what became of a reload.
type reloaded struct {
	Waiting []string `json:"waiting,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// openControl opens the control socket. A service without it works: it is
// started anew in place of a reload.
func (a *App) openControl() {
	socket, err := listenControl(a.cfg.DataDir)
	if err != nil {
		a.log.Info("sipxrest reload and sipxrest check cannot ask this service", "error", err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		answerControl(w, Running{os.Getpid(), version.String(), a.sockets(), a.notReady()})
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		done := a.startReload()
		select {
		case <-done.done:
		case <-r.Context().Done(): // nobody waits for it any more
			return
		}
		answer := reloaded{Waiting: done.waiting}
		if done.err != nil {
			answer.Error = done.err.Error()
		}
		answerControl(w, answer)
	})
	a.clusterControl(mux)
	a.control = web.NewListener(socket, nil, web.Room{Total: controlConnections, PerAddress: controlConnections}, mux, a.log)
	a.control.Slow("control socket", reloadWait)
	a.add(feature{name: "control", stage: stageListeners, run: serving(a.control)})
}

func answerControl(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// listenControl opens the socket in dir. One that a killed service has left is
// taken away.
func listenControl(dir string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, controlFile)
	socket, err := net.Listen("unix", file)
	if errors.Is(err, syscall.EADDRINUSE) {
		if other, err := net.DialTimeout("unix", file, controlWait); err == nil {
			other.Close()
			return nil, fmt.Errorf("another sipxrest serves with data-dir %s: give each its own", dir)
		}
		if info, e := os.Lstat(file); e == nil && info.Mode()&fs.ModeSocket != 0 {
			os.Remove(file)
			socket, err = net.Listen("unix", file)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(file, 0o600); err != nil {
		socket.Close()
		return nil, err
	}
	return socket, nil
}

// sockets lists what the service has bound.
func (a *App) sockets() []string {
	var out []string
	for _, l := range a.allListeners() {
		out = append(out, "tcp:"+l.Addr().String())
	}
	for _, s := range a.sw.Addrs() {
		transport, address, _ := strings.Cut(s, ":")
		out = append(out, config.NetworkOf(transport)+":"+address)
	}
	return out
}

// askService asks the service that runs with cfg's data-dir.
func askService(ctx context.Context, cfg *config.Config, method, path string, wait time.Duration, answer any) error {
	file := filepath.Join(cfg.DataDir, controlFile)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", file)
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://service"+path, nil)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return &NoService{cfg.DataDir}
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: only root and the service's user may ask the service: use sudo", err)
	case ctx.Err() != nil:
		return fmt.Errorf("the service has not answered within %v at %s", wait, file)
	case err != nil:
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the service answers %s: is it of another version?", res.Status)
	}
	return json.NewDecoder(io.LimitReader(res.Body, maxControl)).Decode(answer)
}

// NoService says that nobody answers.
type NoService struct{ dir string }

func (e *NoService) Error() string {
	return fmt.Sprintf("no service answers in data-dir %s: start it, or name its data-dir by --config or --data-dir", e.dir)
}

// AskStatus asks the running service what it is. A *noService error says that none
// runs.
func AskStatus(ctx context.Context, cfg *config.Config) (Running, error) {
	var answer Running
	err := askService(ctx, cfg, http.MethodGet, "/status", controlWait, &answer)
	return answer, err
}

// AskReload has the running service read its files again and returns when it
// has: with the keys that have changed and wait for a restart, or with what could
// not be read, which stays as it was.
func AskReload(ctx context.Context, cfg config.Config) (waiting []string, err error) {
	var answer reloaded
	if err := askService(ctx, &cfg, http.MethodPost, "/reload", reloadWait, &answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return answer.Waiting, err
}
