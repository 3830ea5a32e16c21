package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sipxrest/dispatch"
	"sipxrest/internal/limit"
	"sipxrest/restauth/imdb"
)

// maxShared bounds a file that counts for Shared, in bytes.
const maxShared = 64 << 20

// Shared returns a hash of what must be the same at all nodes of a cluster: users,
// policies, dispatch rules and trunks. Where files are does not count, for machines
// differ. It reads files.
func (c *Config) Shared() (string, error) {
	h := sha256.New()
	for i, name := range c.Users {
		if imdb.IsURL(name) { // the same database for all, whatever its address
			continue
		}
		if err := addFile(h, fmt.Sprint("users ", i), name); err != nil {
			return "", err
		}
	}
	rules := slices.Clone(c.Dispatch.Rules)
	for i := range rules {
		rules[i].File, rules[i].Line = "", 0
	}
	said, err := json.Marshal([]any{c.Domain, c.Realm, c.Policy, c.Policies, c.PolicyUsers, c.Dial, rules, sharedTrunks(c.Dispatch.Trunks),
		c.Dispatch.Rooms, c.Dispatch.RoomTarget})
	if err != nil {
		return "", err
	}
	add(h, "configuration", said)
	if dir := c.Dispatch.RulesDir; dir != "" {
		files, err := os.ReadDir(dir)
		if err != nil {
			return "", err
		}
		for _, f := range files { // by name
			if f.IsDir() || strings.HasPrefix(f.Name(), ".") {
				continue
			}
			if err := addFile(h, f.Name(), filepath.Join(dir, f.Name())); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// sharedTrunks says what counts of trunks. Secrets are not shown by %v, and no part
// of it.
func sharedTrunks(trunks []dispatch.Trunk) (out []string) {
	for _, t := range trunks {
		out = append(out, fmt.Sprintf("%q %q %q %q %d", t.Name, t.Sources, t.FromHosts, t.Username, t.MaxCalls))
	}
	return out
}

// add adds a part, so that no two lists of parts have the same bytes.
func add(h hash.Hash, name string, data []byte) {
	fmt.Fprintf(h, "%d %s %d\n", len(name), name, len(data))
	_, _ = h.Write(data)
}

func addFile(h hash.Hash, name, file string) error {
	data, err := limit.ReadFile(file, maxShared)
	if errors.Is(err, os.ErrNotExist) {
		data, err = nil, nil // one that is there at one node only is a difference
	}
	if err != nil {
		return err
	}
	add(h, name, data)
	return nil
}
