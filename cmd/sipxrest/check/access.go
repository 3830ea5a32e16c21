package check

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/dispatch"
)

// An identity is as whom the service reads files.
type identity struct {
	name   string
	uid    uint32
	groups []uint32
}

// serviceIdentity finds a user of the system; false if there is none.
func serviceIdentity(name string) (identity, bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return identity{}, false
	}
	id := identity{name: name}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return identity{}, false
	}
	id.uid = uint32(uid)
	groups, err := u.GroupIds()
	if err != nil {
		groups = []string{u.Gid}
	}
	for _, g := range groups {
		if gid, err := strconv.ParseUint(g, 10, 32); err == nil {
			id.groups = append(id.groups, uint32(gid))
		}
	}
	return id, true
}

// may reports whether the identity has a right (4 read, 2 write, 1 enter) by a file's
// mode, owner and group.
func (id identity) may(info fs.FileInfo, right fs.FileMode) bool {
	uid, gid, ok := owner(info)
	if !ok || id.uid == 0 {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case uid == id.uid:
		return mode>>6&right == right
	case slices.Contains(id.groups, gid):
		return mode>>3&right == right
	}
	return mode&right == right
}

// lacks says what keeps the identity from a file, and what to do; "" if nothing
// does, or there is no such file, which others tell.
func (id identity) lacks(name string, right fs.FileMode) string {
	abs, err := filepath.Abs(name)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return ""
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !id.may(info, 1) {
			return fmt.Sprintf("%s: the service's user %s cannot enter %s (%s): chgrp %s %s && chmod g+x %s", name, id.name, dir, ownership(info), id.name, dir, dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	info, err := os.Stat(abs)
	if err != nil || id.may(info, right) {
		return ""
	}
	if right&2 != 0 {
		return fmt.Sprintf("the service's user %s cannot write %s (%s): chown %s %s", id.name, name, ownership(info), id.name, name)
	}
	return fmt.Sprintf("the service's user %s cannot read %s (%s): chgrp %s %s && chmod g+r %s", id.name, name, ownership(info), id.name, name, name)
}

// ownership is a file's as ls -l shows it.
func ownership(info fs.FileInfo) string {
	uid, gid, ok := owner(info)
	if !ok {
		return info.Mode().String()
	}
	name, group := strconv.Itoa(int(uid)), strconv.Itoa(int(gid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("%v %s:%s", info.Mode(), name, group)
}

// A need is a right that the service needs to a file.
type need struct {
	file  string
	right fs.FileMode
}

// needs lists what the service reads, and what it writes.
func needs(cfg *config.Config) []need {
	const read, folder, write = 4, 7, 6
	var list []need
	add := func(right fs.FileMode, files ...string) {
		for _, f := range files {
			if n := (need{f, right}); f != "" && !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	for _, source := range cfg.Sources() {
		if info, err := os.Stat(source); err == nil && info.IsDir() { // of a sipX installation
			add(read, filepath.Join(source, "sipxrest-config.xml"), filepath.Join(source, "domain-config"))
			continue
		}
		add(read, source)
	}
	add(read, cfg.UserFiles()...)
	own := cfg.EncryptedSIP() && cfg.SIP.TLS.Cert == ""
	pair := func(t config.TLS) {
		own = own || t.Cert == ""
		add(read, t.Cert, t.Key)
	}
	for _, l := range cfg.HTTP {
		if l.TLS != nil {
			pair(*l.TLS)
		}
	}
	if p := &cfg.Phone; p.Enabled {
		if p.Listen != "" && !p.PlainHTTP {
			pair(p.TLS)
		}
		add(folder, filepath.Dir(cfg.PhoneDatabase()))
		add(write, cfg.PhoneDatabase())
	}
	add(read, cfg.SIP.TLS.Cert, cfg.SIP.TLS.Key, cfg.SIP.TLS.CA, cfg.Dialout.CA)
	if cfg.Dispatch.InUse() {
		files, _ := dispatch.Files(cfg.DispatchConfig()) // what is wrong with them is told elsewhere
		add(read, files...)
		if cfg.Dispatch.RulesDir != "" {
			add(5, cfg.Dispatch.RulesDir)
		}
	}
	if own {
		cert, key := web.SelfSignedFiles(cfg.DataDir)
		add(read, cert, key)
	}
	add(folder, cfg.DataDir)
	if cfg.Dialout.InUse() {
		add(folder, filepath.Join(cfg.DataDir, "dialout"))
	}
	return list
}

// permissions says what the service's user cannot read or write: root, who checks,
// can read everything.
func (c *checker) permissions(cfg *config.Config) {
	if c.as == "" {
		return
	}
	id, ok := serviceIdentity(c.as)
	if !ok || os.Geteuid() != 0 && !c.anyone {
		if c.as != "sipxrest" && !ok {
			c.say(levelProblem, "permissions", "--service-user: the system has no user %s", c.as)
		}
		return
	}
	told := map[string]bool{}
	for _, n := range needs(cfg) {
		if why := id.lacks(n.file, n.right); why != "" && !told[why] {
			told[why] = true
			c.say(levelProblem, "permissions", "%s", why)
		}
	}
	if len(told) == 0 {
		c.say(levelOK, "permissions", "the service's user %s can read its files", id.name)
	}
}
