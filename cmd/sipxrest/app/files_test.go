package app

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/internal/limit"
)

// A pipe in place of any file that is read ends the start with an error that
// names it. It would keep whoever opens it waiting for a writer.
func TestNoFileThatIsReadMayBeAPipe(t *testing.T) {
	for what, text := range map[string]string{
		"sipxrest.yaml": "",
		"users.yaml":    apptest.Minimal,
		"http.crt":      apptest.Minimal + `http: [{listen: "127.0.0.1:0", tls: {cert: http.crt, key: http.key}}]`,
		"http.key":      apptest.Minimal + `http: [{listen: "127.0.0.1:0", tls: {cert: http.crt, key: http.key}}]`,
		"ca.crt":        apptest.Minimal + `sip: {listen: ["udp:127.0.0.1:0"], tls: {ca: ca.crt}}`,
		"sip.crt":       apptest.Minimal + `sip: {listen: ["tls:127.0.0.1:0"], tls: {cert: sip.crt, key: http.key}}`,
		"talk.crt":      apptest.Minimal + `dialout: {gateway: {uri: "sip:127.0.0.1"}, target: "201", ca: talk.crt}`,
		"rules/a.yaml":  apptest.Minimal + `dispatch: {rules-dir: rules}`,
		"hook-ca.crt":   apptest.Minimal + `dispatch: {rules: [{id: a, url: "https://a.example/", ca_file: hook-ca.crt}]}`,
		"hook.crt": apptest.Minimal +
			`dispatch: {rules: [{id: a, url: "https://a.example/", client_cert: hook.crt, client_key: http.key}]}`,
		"phone.db":            apptest.Minimal + `phone: {enabled: true, database: phone.db}`,
		"domain-config":       "--conf-dir",
		"sipxrest-config.xml": "--conf-dir",
		"validusers.xml":      "--conf-dir",
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			cert, key, err := web.MakeSelfSigned([]string{"localhost"}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(dir, "rules"), 0o700); err != nil {
				t.Fatal(err)
			}
			apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
			apptest.Write(t, dir, "http.crt", string(cert))
			apptest.Write(t, dir, "http.key", string(key))
			src := config.Source{File: apptest.Write(t, dir, "sipxrest.yaml", text),
				Set: []config.Setting{{Flag: "--data-dir", Key: "data-dir", Value: dir}}}
			if !strings.Contains(text, "http: ") && text != "" {
				src.Set = append(src.Set, config.Setting{Flag: "--set", Key: "http", Value: "[{listen: '127.0.0.1:0', tls: {}}]"})
			}
			if text == "--conf-dir" {
				if err := os.CopyFS(filepath.Join(dir, "sipx"), os.DirFS("../config/testdata/sipx-4.2")); err != nil {
					t.Fatal(err)
				}
				src.File, src.ConfDir, what = "", filepath.Join(dir, "sipx"), "sipx/"+what
				src.Set = append(src.Set, config.Setting{Flag: "--set", Key: "sip.listen", Value: "['udp:127.0.0.1:0']"})
			} else if !strings.Contains(text, "sip: ") && text != "" {
				src.Set = append(src.Set, config.Setting{Flag: "--set", Key: "sip.listen", Value: "['udp:127.0.0.1:0']"})
			}
			file := filepath.Join(dir, what)
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(file, 0o600); err != nil {
				t.Fatal(err)
			}
			started := make(chan error, 1)
			go func() {
				cfg, err := config.Load(src)
				if err == nil {
					var a *App
					if a, err = New(cfg, slog.New(slog.DiscardHandler)); err == nil {
						a.Close()
						err = errors.New("it starts")
					}
				}
				started <- err
			}()
			select {
			case err := <-started:
				if !errors.Is(err, limit.ErrNotRegular) || !strings.Contains(err.Error(), filepath.Base(what)) {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it waits for a writer")
			}
		})
	}
}
