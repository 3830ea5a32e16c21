// Command notices writes NOTICES: whose code bin/sipxrest contains, and the
// licences that it is under. Run it when a module was added or updated:
//
//	go run ./scripts/notices
//
// The list is that of Linux: a binary for another system may lack some of it.
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed g722.txt
var g722 string

// told are the licences of modules that have no file of their own for it.
var told = map[string]string{"github.com/gotranspile/g722": g722}

// licence matches the files that have to go with a binary. AUTHORS and PATENTS
// do not: the one repeats names, the other grants what nobody has to hand on.
var licence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice)([.-].*)?$`)

const introduction = `sipxrest contains code of others: of Go, and of the modules below. This file names
them and has the licences that they are under. ` + "`go run ./scripts/notices`" + ` writes it.

`

// module is one that is linked into the binary.
type module struct {
	name    string // path and version
	path    string
	dir     string
	folders map[string]bool // of its packages in use, and those above them
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("notices: ")
	if err := write(); err != nil {
		log.Fatal(err)
	}
}

func write() error {
	mod, err := goEnv("GOMOD")
	if err != nil {
		return err
	}
	root := filepath.Dir(mod)
	modules, err := linked(root)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString(introduction)
	for _, m := range modules {
		fmt.Fprintln(&b, m.name)
	}
	if err := texts(&b, modules); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "NOTICES"), b.Bytes(), 0o644)
}

// goEnv returns one of the values that Go works with.
func goEnv(name string) (string, error) {
	out, err := exec.Command("go", "env", name).Output()
	return strings.TrimSpace(string(out)), err
}

// linked returns the modules that the binary for Linux contains, but not our own,
// in the order of their paths. It needs no network once the modules are there.
func linked(root string) ([]*module, error) {
	const format = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}\t{{$.Dir}}{{end}}{{end}}"
	cmd := exec.Command("go", "list", "-deps", "-f", format, "./cmd/sipxrest")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.Bytes())
	}
	found := map[string]*module{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			continue
		}
		m := found[f[0]]
		if m == nil {
			m = &module{name: f[0] + " " + f[1], path: f[0], dir: f[2], folders: map[string]bool{}}
			found[f[0]] = m
		}
		for dir := f[3]; len(dir) >= len(m.dir); dir = filepath.Dir(dir) {
			m.folders[dir] = true
		}
	}
	if len(found) == 0 {
		return nil, errors.New("go list names no modules")
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *module) int { return strings.Compare(a.path, b.path) }), nil
}

// texts writes each licence once, below the names of all that are under it.
func texts(w io.Writer, modules []*module) error {
	var order []string
	under := map[string][]string{}
	add := func(who, text string) {
		text = strings.Trim(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
		if under[text] == nil {
			order = append(order, text)
		}
		under[text] = append(under[text], who)
	}
	goroot, err := goEnv("GOROOT")
	if err != nil {
		return err
	}
	golang, err := os.ReadFile(filepath.Join(goroot, "LICENSE"))
	if err != nil {
		return fmt.Errorf("the licence of Go: %w", err)
	}
	add("Go: its standard library and runtime", string(golang))
	for _, m := range modules {
		if text, ok := told[m.path]; ok {
			add(m.path, text)
			continue
		}
		files, err := licences(m)
		if err != nil {
			return err
		}
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(m.dir, f))
			if err != nil {
				return err
			}
			add(path.Join(m.path, filepath.ToSlash(f)), string(text))
		}
	}
	for _, text := range order {
		fmt.Fprintf(w, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(under[text], "\n"), text)
	}
	return nil
}

// licences returns the module's files, by their path in it, that have to go with
// the packages in use.
func licences(m *module) ([]string, error) {
	var files []string
	for _, dir := range slices.Sorted(maps.Keys(m.folders)) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !licence.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			file, err := filepath.Rel(m.dir, filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no licence file: find out what it is under, and write it into a file beside g722.txt", m.name)
	}
	return files, nil
}
