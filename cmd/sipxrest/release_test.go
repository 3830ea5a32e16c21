package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// root is that of the repository.
const root = "../.."

// script runs one of scripts with more environment, and returns what it says.
func script(t *testing.T, name string, env ...string) (string, error) {
	t.Helper()
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash, for the scripts, is not installed (make setup does it)")
	}
	cmd := exec.CommandContext(t.Context(), shell, filepath.Join(root, "scripts", name))
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// What is no version would become a file's name, and the package's.
func TestAReleaseWantsAVersion(t *testing.T) {
	for _, version := range []string{"x", "1 2", "1/2", "v1.2.3", "1.0;id", ".1"} {
		out, err := script(t, "release.sh", "VERSION="+version)
		if err == nil || !strings.Contains(out, "VERSION="+version+": write a number such as 1.2.3") {
			t.Errorf("%q: %v, %s", version, err, out)
		}
	}
}

// The Debian package has what the script installs into a folder, and nothing that only
// the machine's owner may decide, such as a configuration in place.
func TestWhatThePackageHolds(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	stage := filepath.Join(dir, "stage")
	if out, err := script(t, "install.sh", "DESTDIR="+stage, "PROGRAM="+program, "EXAMPLES=usr/share/doc/sipxrest/examples"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got []string
	err := filepath.WalkDir(stage, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(stage, path)
		want := fs.FileMode(0o644)
		if name == "usr/bin/sipxrest" {
			want = 0o755
		}
		if info.Mode() != want {
			t.Errorf("%s has the mode %v, want %v", name, info.Mode(), want)
		}
		got = append(got, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"usr/bin/sipxrest", "usr/lib/sysusers.d/sipxrest.conf", "usr/lib/systemd/system/sipxrest.service",
		"usr/share/doc/sipxrest/examples/sipxrest.yaml", "usr/share/doc/sipxrest/examples/users.yaml", "usr/share/sipxrest/NOTICES",
		"usr/share/sipxrest/api/asyncapi.yaml", "usr/share/sipxrest/api/openapi.yaml", "usr/share/sipxrest/openapi.yaml",
		"usr/share/sipxrest/sipxrest.rules.yml"}
	examples := 0
	err = filepath.WalkDir(filepath.Join(root, "examples"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(root, path)
			want = append(want, "usr/share/sipxrest/"+filepath.ToSlash(name))
			examples++
		}
		return err
	})
	if err != nil || examples < 5 {
		t.Fatalf("%d examples: %v", examples, err)
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s is not in the package", name)
		}
	}
	for _, name := range got {
		if strings.HasPrefix(name, "etc/") || strings.HasPrefix(name, "var/") {
			t.Errorf("%s is the owner's to write", name)
		}
	}
}

func TestThePackagesScriptsAreThere(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "packaging/nfpm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Scripts map[string]string
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Scripts) != 3 {
		t.Errorf("%v", config.Scripts)
	}
	for when, file := range config.Scripts {
		if out, err := exec.CommandContext(t.Context(), "sh", "-n", filepath.Join(root, file)).CombinedOutput(); err != nil {
			t.Errorf("%s: %s: %v %s", when, file, err, out)
		}
	}
}

// The image is built by the Go release that the module asks for, and starts what was
// built.
func TestTheImageIsOfTheModulesGo(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	file, mod := read("Containerfile"), read("go.mod")
	wants := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(mod)
	has := regexp.MustCompile(`(?m)^FROM docker\.io/library/golang:(\d+\.\d+)-`).FindStringSubmatch(file)
	if wants == nil || has == nil || wants[1] != has[1] {
		t.Errorf("go.mod wants Go %v, the Containerfile has %v", wants, has)
	}
	for _, line := range []string{"-o /out/usr/bin/sipxrest", "CGO_ENABLED=0", `ENTRYPOINT ["/usr/bin/sipxrest"]`, "USER 65532:65532",
		`CMD ["/usr/bin/sipxrest", "health"]`, "sipxrest/cmd/sipxrest/version.linked=$VERSION"} {
		if !strings.Contains(file, line) {
			t.Errorf("the Containerfile lacks %s", line)
		}
	}
}
