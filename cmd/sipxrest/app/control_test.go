package app

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/version"
	"sipxrest/sipflow/siptest"
)

// What `systemctl reload` is told: the outcome, and what is still to be done.
func TestReloadTellsTheOutcome(t *testing.T) {
	s, rewrite := reloading(t, "")
	dir := filepath.Dir(s.cfg.Sources()[0])
	ask := func() ([]string, error) {
		t.Helper()
		cfg, err := config.Load(config.Source{File: s.cfg.Sources()[0]})
		if err != nil {
			t.Fatal(err)
		}
		return AskReload(t.Context(), cfg)
	}
	if waiting, err := ask(); err != nil || waiting != nil {
		t.Errorf("waiting %q, %v", waiting, err)
	}
	rewrite("drain: 5s\n")
	if waiting, err := ask(); err != nil || !slices.Equal(waiting, []string{"drain"}) {
		t.Errorf("waiting %q, %v", waiting, err)
	}
	apptest.Write(t, dir, "users.yaml", "- {usr: x}")
	if _, err := ask(); err == nil || !strings.Contains(err.Error(), `users.yaml:1: unknown key "usr"`) {
		t.Error(err)
	}
	rewrite("data-dir: elsewhere\n")
	cfg := s.cfg
	cfg.DataDir = filepath.Join(dir, "elsewhere")
	if _, err := AskReload(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "no service answers in data-dir "+cfg.DataDir) {
		t.Error(err)
	}
}

func TestTheControlSocketIsForTheServicesUserAlone(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, addr)
	cfg.Metrics.Listen = "127.0.0.1:0"
	s := start(t, cfg)
	info, err := os.Stat(filepath.Join(cfg.DataDir, controlFile))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	var told Running
	if err := askService(t.Context(), &cfg, http.MethodGet, "/status", controlWait, &told); err != nil {
		t.Fatal(err)
	}
	if told.PID != os.Getpid() || told.Version != version.String() || len(told.Sockets) != 4 ||
		!slices.Contains(told.Sockets, s.sw.Addrs()[0]) || !slices.Contains(told.Sockets, strings.Replace(s.MetricsURL(), "http://", "tcp:", 1)) {
		t.Errorf("%+v", told)
	}
	s.signals <- syscall.SIGTERM
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(cfg.DataDir, controlFile)); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if err := askService(t.Context(), &cfg, http.MethodGet, "/status", controlWait, &told); err == nil || !strings.Contains(err.Error(),
		"no service answers") {
		t.Error(err)
	}
}

func TestTheControlSocketOfAKilledServiceIsReplaced(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, controlFile)
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: file, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false)
	killed.Close()
	socket, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(dir); err == nil || !strings.Contains(err.Error(), "another sipxrest serves with data-dir") {
		t.Errorf("a second service: %v", err)
	}
	socket.Close()
	apptest.Write(t, dir, controlFile, "not a socket")
	if _, err := listenControl(dir); err == nil {
		t.Error("a file was replaced")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "not a socket" {
		t.Errorf("%q, %v", text, err)
	}
}

// Nobody can be asked for longer than the command is told to wait.
func TestACommandDoesNotWaitForEver(t *testing.T) {
	dir := t.TempDir()
	deaf, err := net.Listen("unix", filepath.Join(dir, controlFile))
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := askService(ctx, &config.Config{DataDir: dir}, http.MethodGet, "/status", reloadWait, nil); err == nil ||
		!strings.Contains(err.Error(), "has not answered within 1m0s") {
		t.Error(err)
	}
}
