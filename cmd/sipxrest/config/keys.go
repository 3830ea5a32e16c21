package config

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v4"

	"sipxrest/internal/fault"
	"sipxrest/internal/setting"
)

// A row is one key of the configuration, and all that is said of it: the file, the
// environment and the flags read it, Validate checks it, and the example, the copy
// in packaging and the page of keys are made of it by `go generate`.
type row struct {
	Name string // "sip.listen"
	// Set is the field that the key sets, and how it reads a value.
	Set setting.Field
	// Check says what is wrong with the value to which its argument points. nil:
	// nothing can be, or it depends on other keys, see Validate.
	Check func(at any) error
	// AtOnce says that a running service takes a change when it reads its files
	// again. All others wait for a restart.
	AtOnce bool

	// Default is the value that holds when nothing is set. Empty: that of Go, and
	// Absent says in the page of keys what this means ("none" if it is empty, too).
	Default, Absent string
	// Doc says in the page of keys what the key means.
	Doc string

	// About is the comment before the key in the example, Show the value there if
	// it is not the default. One that begins with a line's end is shown as it is.
	About, Show string
	// Live says that the example sets the key; all others are comments.
	Live bool
	// After names the key that comes before in the example, where the row before
	// does not.
	After string
}

// A section is how the example shows a section of keys.
type section struct {
	// About is the comment before it.
	About string
	// Inline shows its keys on its own line: {level: info, format: text}.
	Inline bool
	// After names the key, or section, that comes before in the example, where the
	// rows before do not.
	After string
}

//go:generate go test -run TestTheGeneratedFilesAreCurrent -update

// keys returns every key of the configuration, bound to c.
func (c *Config) keys() []setting.Key {
	rows := c.rows()
	keys := make([]setting.Key, len(rows))
	for i, r := range rows {
		keys[i] = setting.Key{Name: r.Name, Field: r.Set}
	}
	return keys
}

// variable returns the name of a key in the environment.
func variable(name string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
}

const envPrefix = "SIPXREST_"

// listeners reads the items of "http".
func listeners(p *[]HTTPListener) setting.Field {
	return setting.Field{At: p, List: true, Set: func(v setting.Value) error {
		if v.Node.Kind != yaml.SequenceNode {
			return errors.New(`a list is expected here, such as [{listen: ":6667", auth: pin}]`)
		}
		list := make([]HTTPListener, 0, len(v.Node.Content))
		for _, item := range v.Node.Content {
			item = setting.Follow(item)
			if item.Kind != yaml.MappingNode {
				return &fault.Fault{Line: item.Line, Err: errors.New(`write the listener as {listen: ":6667", auth: pin}`)}
			}
			l, err := oneListener(item, v.Dir)
			if err != nil {
				return err
			}
			list = append(list, l)
		}
		*p = list
		return nil
	}}
}

func oneListener(n *yaml.Node, dir string) (l HTTPListener, err error) {
	var t TLS
	w := setting.Walk{Dir: dir, Keys: []setting.Key{
		{Name: "listen", Field: setting.Text(&l.Listen)},
		{Name: "auth", Field: setting.Text(&l.Auth)},
		{Name: "tls.cert", Field: setting.Path(&t.Cert)},
		{Name: "tls.key", Field: setting.Path(&t.Key)},
		{Name: "tls.min-version", Field: setting.Text(&t.MinVersion)},
	}}
	w.OnSection = func(name string, n *yaml.Node) error {
		if n.Kind != yaml.MappingNode {
			return errors.New("write tls: {} for a self-signed certificate, tls: {cert: FILE, key: FILE} for your own, or leave tls out for plain HTTP")
		}
		l.TLS = &t
		return nil
	}
	w.Mapping("", n)
	if len(w.Errs) > 0 {
		return l, w.Errs[0]
	}
	if l.Auth == "" {
		l.Auth = "pin"
		if l.TLS != nil {
			l.Auth = "trusted-or-pin"
		}
	}
	return l, nil
}
