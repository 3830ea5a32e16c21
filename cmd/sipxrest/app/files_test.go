package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/internal/limit"
)

// A pipe in place of any file that is read ends the start with an error that
// names it. It would keep whoever opens it waiting for a writer.
func TestNoFileThatIsReadMayBeAPipe(t *testing.T) {
	for what, text := range map[string]string{
		"sipxrest.yaml":       "",
		"users.yaml":          minimal,
		"http.crt":            minimal + `http: [{listen: "127.0.0.1:0", tls: {cert: http.crt, key: http.key}}]`,
		"http.key":            minimal + `http: [{listen: "127.0.0.1:0", tls: {cert: http.crt, key: http.key}}]`,
		"ca.crt":              minimal + `sip: {listen: ["udp:127.0.0.1:0"], tls: {ca: ca.crt}}`,
		"sip.crt":             minimal + `sip: {listen: ["tls:127.0.0.1:0"], tls: {cert: sip.crt, key: http.key}}`,
		"talk.crt":            minimal + `dialout: {gateway: {uri: "sip:127.0.0.1"}, target: "201", ca: talk.crt}`,
		"rules/a.yaml":        minimal + `dispatch: {rules-dir: rules}`,
		"hook-ca.crt":         minimal + `dispatch: {rules: [{id: a, url: "https://a.example/", ca_file: hook-ca.crt}]}`,
		"hook.crt":            minimal + `dispatch: {rules: [{id: a, url: "https://a.example/", client_cert: hook.crt, client_key: http.key}]}`,
		"phone.db":            minimal + `phone: {enabled: true, database: phone.db}`,
		"domain-config":       "--conf-dir",
		"sipxrest-config.xml": "--conf-dir",
		"validusers.xml":      "--conf-dir",
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			cert, key, err := makeSelfSigned([]string{"localhost"}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(dir, "rules"), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, dir, "users.yaml", usersYAML)
			write(t, dir, "http.crt", string(cert))
			write(t, dir, "http.key", string(key))
			src := Source{File: write(t, dir, "sipxrest.yaml", text), Set: []Setting{{"--data-dir", "data-dir", dir}}}
			if !strings.Contains(text, "http: ") && text != "" {
				src.Set = append(src.Set, Setting{"--set", "http", "[{listen: '127.0.0.1:0', tls: {}}]"})
			}
			if text == "--conf-dir" {
				if err := os.CopyFS(filepath.Join(dir, "sipx"), os.DirFS("testdata/sipx-4.2")); err != nil {
					t.Fatal(err)
				}
				src.File, src.ConfDir, what = "", filepath.Join(dir, "sipx"), "sipx/"+what
				src.Set = append(src.Set, Setting{"--set", "sip.listen", "['udp:127.0.0.1:0']"})
			} else if !strings.Contains(text, "sip: ") && text != "" {
				src.Set = append(src.Set, Setting{"--set", "sip.listen", "['udp:127.0.0.1:0']"})
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
				cfg, err := Load(src)
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

// An alias of aliases is short to write and long to read, wherever it stands.
func TestAliasesInTheConfigurationAreBounded(t *testing.T) {
	many := strings.Repeat("a, ", 5000)
	for name, text := range map[string]string{
		"policies": "policies:\n  a: &a [{allow: &l [" + many + "]}]\n" + func() string {
			var b strings.Builder
			for i := range 5000 {
				fmt.Fprintf(&b, "  p%d: *a\n", i)
			}
			return b.String()
		}(),
		"trunks": "trusted: &l [" + many + "]\ndispatch: {trunks: [" + strings.Repeat("{name: a, sources: *l}, ", 5000) + "]}\n",
	} {
		_, err := Load(Source{File: write(t, t.TempDir(), "sipxrest.yaml", minimal+text)})
		if err == nil || !strings.Contains(err.Error(), "aliases (*name) stand for more than") || len(err.Error()) > 1000 {
			t.Errorf("%s: %.1000v", name, err)
		}
	}
}
