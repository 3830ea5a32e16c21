package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sipxrest/internal/fault"
	"sipxrest/internal/limit"
	"sipxrest/internal/watch"
)

const (
	// maxFile bounds a file of rules, in bytes, and maxFiles how many there are.
	maxFile  = 4 << 20
	maxFiles = 1000
	// settle is how long after the first sign of a change the files are read.
	settle = 300 * time.Millisecond
)

// ruleFiles are the files of a folder that hold rules, in the order of their
// names. Hidden ones and what editors leave are none.
func ruleFiles(dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, &fault.Fault{Key: "dispatch.rules-dir", Err: err}
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		if ext := filepath.Ext(name); ext != ".yaml" && ext != ".yml" || strings.HasPrefix(name, ".") || e.IsDir() {
			continue
		}
		files = append(files, filepath.Join(dir, name))
	}
	if len(files) > maxFiles {
		return nil, &fault.Fault{Key: "dispatch.rules-dir", Err: fmt.Errorf("%s has more than %d files", dir, maxFiles)}
	}
	slices.Sort(files)
	return files, nil
}

// readDir reads the rules of a folder.
func readDir(dir string) ([]Rule, error) {
	files, err := ruleFiles(dir)
	if err != nil {
		return nil, err
	}
	var rules []Rule
	var errs []error
	for _, file := range files {
		data, err := limit.ReadFile(file, maxFile)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list, err := ParseRules(data, file)
		errs = append(errs, err)
		rules = append(rules, list...)
	}
	return rules, errors.Join(errs...)
}

// statesOf tells whether the files have changed.
func statesOf(dir string) string {
	files, err := ruleFiles(dir)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, file := range files {
		fmt.Fprint(&b, file)
		if info, err := os.Stat(file); err == nil {
			fmt.Fprint(&b, " ", info.Size(), " ", info.ModTime().UnixNano())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Watch reads the folder of rules again whenever something changes in it, until
// ctx ends. If Reload is given another folder, it is that one. If there is
// anything wrong, that is logged and the old rules stay. The error says that
// watching could not begin.
func (d *Dispatcher) Watch(ctx context.Context, log *slog.Logger) error {
	for ctx.Err() == nil {
		d.reloading.Lock()
		dir, last, moved := d.cfg.RulesDir, d.files, d.moved
		d.reloading.Unlock()
		here, leave := context.WithCancel(ctx)
		go func() {
			select {
			case <-moved:
				leave()
			case <-here.Done():
			}
		}()
		err := watchRules(here, dir, log, func() (again bool) {
			if states := statesOf(dir); states != last {
				last = states
				d.reloadFiles(log)
			}
			return false
		})
		leave()
		if err != nil {
			return fmt.Errorf("watch rules: %w", err)
		}
	}
	return nil
}

// watchRules calls look when something happens in dir, which may be none.
func watchRules(ctx context.Context, dir string, log *slog.Logger, look func() (again bool)) error {
	if dir == "" {
		<-ctx.Done()
		return nil
	}
	return watch.Folders(ctx, []string{dir}, settle, log, look)
}

func (d *Dispatcher) reloadFiles(log *slog.Logger) {
	d.reloading.Lock() // over both: another configuration must not be put back
	err := d.reload(d.cfg)
	d.reloading.Unlock()
	if err != nil {
		log.Error("dispatch rules not reloaded, the old ones stay", "error", err)
		return
	}
	log.Info("dispatch rules reloaded", "rules", d.Rules())
}

// Files are the files that the rules are in and name: those of a folder,
// certificates and keys. They may be some of them only if there is an error.
func Files(cfg Config) ([]string, error) {
	files, err := ruleFiles(cfg.RulesDir)
	rules, readErr := readDir(cfg.RulesDir)
	for _, r := range append(slices.Clone(cfg.Rules), rules...) {
		for _, f := range []string{r.CAFile, r.ClientCert, r.ClientKey} {
			if f != "" && !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, errors.Join(err, readErr)
}
