package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/limit"
	"sipxrest/internal/setting"
)

// Source says where a configuration comes from. What stands later wins: the
// defaults, ConfDir, File, Environ, Set.
type Source struct {
	// File is a YAML file. Empty: sipxrest.yaml in the working directory or
	// in /etc/sipxrest, unless ConfDir is given.
	File string
	// ConfDir is the configuration folder of a sipX installation.
	ConfDir string
	// Environ holds NAME=value; only SIPXREST_ names are looked at.
	Environ []string
	// Set holds what the command line says.
	Set []Setting
}

// A Setting is one key set on the command line.
type Setting struct{ Flag, Key, Value string }

// ErrNoConfig says that there is nothing to start with.
var ErrNoConfig = errors.New(`no configuration found (looked for ` + strings.Join(defaultFiles, " and ") + `).
Write one and edit it:     sipxrest serve --example-config > sipxrest.yaml
or read a sipX system's:   sipxrest serve --conf-dir /etc/sipxpbx
or see a call being made:  sipxrest demo`)

const (
	// SystemFile is the configuration of the system's service, and systemDataDir
	// what its unit has as StateDirectory.
	SystemFile    = "/etc/sipxrest/sipxrest.yaml"
	SystemDataDir = "/var/lib/sipxrest"
)

var defaultFiles = []string{"sipxrest.yaml", SystemFile}

// maxFile bounds the configuration file, in bytes.
const maxFile = 1 << 20

// maxFaults is how many faults of the configuration file are told.
const maxFaults = 10

// Load reads a configuration from all its sources and validates it. The error
// holds one line for each fault, with the place where it was set.
func Load(src Source) (Config, error) {
	cfg, err := read(src)
	if err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

// read reads a configuration from all its sources.
func read(src Source) (Config, error) {
	cfg := Default()
	cfg.origin = map[string]string{}
	cfg.Again = func() (Config, error) { return Load(src) }
	file, confDir := src.File, src.ConfDir
	for _, e := range src.Environ {
		switch name, val, _ := strings.Cut(e, "="); {
		case name == envPrefix+"CONFIG" && file == "":
			file = val
		case name == envPrefix+"CONF_DIR" && confDir == "":
			confDir = val
		}
	}
	if file == "" && confDir == "" {
		file = searchFile()
	}
	var errs []error
	if confDir != "" {
		cfg.sources = append(cfg.sources, confDir)
		errs = append(errs, cfg.readConfDir(confDir))
	}
	if file != "" {
		cfg.sources = append(cfg.sources, file)
		errs = append(errs, cfg.readFile(file))
	}
	errs = append(errs, cfg.readEnviron(src.Environ), cfg.readSettings(src.Set))
	if cfg.origin["data-dir"] == "" && os.Getenv("STATE_DIRECTORY") == "" && file != "" {
		cfg.DataDir = defaultDataDir(file)
	}
	if err := errors.Join(errs...); err != nil {
		return cfg, err
	}
	if file == "" && confDir == "" && cfg.Domain == "" {
		return cfg, ErrNoConfig
	}
	return cfg, nil
}

// defaultDataDir is data-dir where neither the configuration nor systemd says it.
// It depends on the file alone: in whatever folder the service and a command are
// started, they mean the same one.
func defaultDataDir(file string) string {
	abs, err := filepath.Abs(file)
	switch {
	case err != nil:
		return "data"
	case abs == SystemFile:
		return SystemDataDir
	}
	return filepath.Join(filepath.Dir(abs), "data")
}

func searchFile() string {
	for _, name := range defaultFiles {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) { // reading it says what else is wrong
			return name
		}
	}
	return ""
}

// readFile sets what a YAML file says.
func (c *Config) readFile(name string) error {
	data, err := limit.ReadFile(name, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: write one with sipxrest serve --example-config > %s", err, filepath.Base(name))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: whoever runs sipxrest must be able to read it: use sudo, or chmod", err)
	case errors.Is(err, limit.ErrTooLarge):
		return fmt.Errorf("%w: is it a configuration?", err)
	case err != nil:
		return err
	}
	root, err := setting.Document(data)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if root == nil {
		return fmt.Errorf("%s is empty: sipxrest serve --example-config shows what to write", name)
	}
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: lines such as domain: pbx.example are expected here", name, root.Line)
	}
	w := setting.Walk{Keys: c.keys(), Dir: filepath.Dir(name), OnKey: func(key string, line int) {
		c.origin[key] = fmt.Sprintf("%s:%d", name, line)
	}, OnSection: func(section string, _ *yaml.Node) error {
		c.noteSection(section)
		return nil
	}}
	w.Mapping("", root)
	var errs []error
	for i, e := range w.Errs {
		if i == maxFaults {
			errs = append(errs, fmt.Errorf("%s: %d more faults: is it a configuration?", name, len(w.Errs)-i))
			break
		}
		errs = append(errs, fmt.Errorf("%s:%d: %w", name, e.Line, e.Err))
	}
	return errors.Join(errs...)
}

// readEnviron sets what SIPXREST_ variables say. A variable that is set to
// nothing counts as not set.
func (c *Config) readEnviron(environ []string) error {
	keys := c.keys()
	names := []string{envPrefix + "CONFIG", envPrefix + "CONF_DIR"}
	for _, k := range keys {
		names = append(names, variable(k.Name))
	}
	environ = slices.Sorted(slices.Values(environ))
	var errs []error
	for _, e := range environ {
		name, val, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		i := slices.Index(names, name)
		if i < 0 {
			if best := setting.Nearest(name[len(envPrefix):], trimmed(names)); best != "" {
				errs = append(errs, fmt.Errorf("environment: unknown variable %s: did you mean %s%s?", name, envPrefix, best))
			} else {
				errs = append(errs, fmt.Errorf("environment: unknown variable %s: every key of sipxrest.yaml is one, such as %s", name, variable("sip.listen")))
			}
			continue
		}
		if i < 2 || val == "" {
			continue
		}
		errs = append(errs, c.setText(keys[i-2], "environment: "+name, val))
	}
	return errors.Join(errs...)
}

func trimmed(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n[len(envPrefix):]
	}
	return out
}

// readSettings sets what the command line says.
func (c *Config) readSettings(settings []Setting) error {
	keys := c.keys()
	var errs []error
	for _, s := range settings {
		i := slices.IndexFunc(keys, func(k setting.Key) bool { return k.Name == s.Key })
		if i < 0 {
			errs = append(errs, fmt.Errorf("%s: %w", s.Flag, unknownDotted(s.Key, keys)))
			continue
		}
		errs = append(errs, c.setText(keys[i], s.Flag, s.Value))
	}
	return errors.Join(errs...)
}

func unknownDotted(word string, keys []setting.Key) error {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	if best := setting.Nearest(word, names); best != "" {
		return fmt.Errorf("unknown key %q: did you mean %q?", word, best)
	}
	return setting.UnknownKey("", word, keys)
}

// setText sets a key to a text, and notes where it comes from.
func (c *Config) setText(k setting.Key, origin, val string) error {
	if err := setText(k, val); err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	c.origin[k.Name] = origin
	c.noteSection(k.Name)
	return nil
}

// setText sets a key to a text: a list's text is YAML, any other is taken as it is.
// Relative paths start at the working directory.
func setText(k setting.Key, val string) error {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: val}
	if k.List {
		var err error
		if node, err = setting.Document([]byte(val)); err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
		if node == nil {
			return fmt.Errorf("%s: it is empty: write a value, [] for an empty list, or leave it out for the default", k.Name)
		}
	}
	if err := k.Set(setting.Value{Node: node}); err != nil {
		return fmt.Errorf("%s: %w", k.Name, err)
	}
	return nil
}
