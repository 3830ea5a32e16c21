package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sipxrest/cluster/store"
	"sipxrest/internal/limit"
	"sipxrest/internal/setting"
)

// Store is the section "store": what `sipxrest store` runs by. The service itself
// does not read it.
type Store struct {
	Listen string // "host:port" for nodes
	// Peers are all stores, "host" or "host:port" of their routes.
	Peers []string
	// RoutePort is where stores connect to each other.
	RoutePort int
	// Advertise is what other stores tell each other of this one.
	Advertise string
	// Dir keeps the streams. Empty: the folder store in data-dir.
	Dir string
	// Sync is "always", or how often the disk is forced to keep what was written.
	Sync string
	// Credentials is a file with a line user:password.
	Credentials        string
	TLS                ClusterTLS
	MaxMemory, MaxDisk int // bytes
	// Health is the "host:port" of /healthz. Empty: none.
	Health string
}

// rows are the keys of the section.
func (s *Store) rows() []row {
	return []row{
		{Name: "store.listen", Set: setting.Text(&s.Listen), Check: storeListen, Default: "127.0.0.1:4222", Show: "10.0.0.5:4222",
			Doc:   "where nodes connect to `sipxrest store`, `10.0.0.5:4222`; the other stores know it by this address",
			About: "Where nodes connect, on an address that only they reach. Default: 127.0.0.1:4222."},
		{Name: "store.peers", Set: setting.Texts(&s.Peers), Check: storePeers, Absent: "none: it is alone", Show: "[10.0.0.5, 10.0.0.6, 10.0.0.7]",
			Doc: "all stores, three or five: hosts, with `:PORT` where one has another `store.route-port`; the same list at each"},
		{Name: "store.route-port", Set: setting.Number(&s.RoutePort), Check: count(65535), Default: "6222",
			Doc: "where stores connect to each other, on the host of `store.listen`"},
		{Name: "store.advertise", Set: setting.Text(&s.Advertise), Check: storeAdvertise, Absent: "the address that they see", Show: "198.51.100.5:6222",
			Doc: "`host:port` at which other stores reach this one, behind NAT or in a container"},
		{Name: "store.dir", Set: setting.Path(&s.Dir), Absent: "the folder `store` in `data-dir`", Show: "/var/lib/sipxrest/store",
			Doc: "keeps the streams; on a disk of the machine, not on the network"},
		{Name: "store.sync", Set: setting.Text(&s.Sync), Check: storeSync, Default: "2m",
			Doc: "how often the disk is forced to keep what was written; `always`: before each answer, which costs much. It matters only when the power of several stores fails at once; 1 s to 1 h"},
		{Name: "store.credentials", Set: setting.Path(&s.Credentials), Absent: "none: whoever reaches it may write", Show: "store.creds",
			Doc: "file with a line `user:password` that nodes (`cluster.credentials`) and other stores must say"},
		{Name: "store.tls.cert", Set: setting.Path(&s.TLS.Cert), Absent: "none: no TLS", Show: "store.crt",
			Doc: "PEM certificate towards nodes and other stores, good for the address of `store.listen`; read again for each connection"},
		{Name: "store.tls.key", Set: setting.Path(&s.TLS.Key), Show: "store.key",
			Doc: "its PEM key"},
		{Name: "store.tls.ca", Set: setting.Path(&s.TLS.CA), Absent: "nobody needs a certificate", Show: "ca.crt",
			Doc: "PEM file of the authorities: nodes and stores must show a certificate of these"},
		{Name: "store.max-memory", Set: setting.Number(&s.MaxMemory), Check: storeRoom, Default: "134217728",
			Doc: "bytes that what is kept in memory may take; 1 MiB to 1 TiB"},
		{Name: "store.max-disk", Set: setting.Number(&s.MaxDisk), Check: storeRoom, Default: "4294967296",
			Doc: "bytes that streams may take on the disk, some 2 KB for each call in progress and 1 KB for each result; 1 MiB to 1 TiB"},
		{Name: "store.health", Set: setting.Text(&s.Health), Check: storeHealth, Show: "\"127.0.0.1:9102\"",
			Doc: "where `/healthz` of the store is: 200 once all that it keeps is as at its peers"},
	}
}

func storeListen(at any) error {
	s := *at.(*string)
	if err := hostPort(s, "10.0.0.5:4222"); err != nil {
		return err
	}
	if _, port, _ := net.SplitHostPort(s); port == "0" {
		return errors.New("port 0 would be another one after each start, and nodes must know it")
	}
	return nil
}

func storeHealth(at any) error {
	if s := *at.(*string); s != "" {
		return hostPort(s, "127.0.0.1:9102")
	}
	return nil
}

func storeAdvertise(at any) error {
	if s := *at.(*string); s != "" {
		return hostPort(s, "198.51.100.5:6222")
	}
	return nil
}

func storePeers(at any) error {
	var errs []error
	seen := map[string]bool{}
	for _, p := range *at.(*[]string) {
		if _, _, err := net.SplitHostPort(p); err == nil {
			errs = append(errs, hostPort(p, "10.0.0.6:6222"))
		} else if !IsHost(p) {
			errs = append(errs, fmt.Errorf("%q is neither a host name nor an address", p))
		}
		if seen[p] {
			errs = append(errs, fmt.Errorf("%q is there twice", p))
		}
		seen[p] = true
	}
	return errors.Join(errs...)
}

// syncAlways is the word for no delay at all.
const syncAlways = "always"

func storeSync(at any) error {
	s := *at.(*string)
	if s == syncAlways {
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q: write a time such as 2m, or %s", s, syncAlways)
	}
	return span(d, time.Second, time.Hour)
}

func storeRoom(at any) error { return recordBytes(at) }

// store checks the section, where it depends on more than one key.
func (v *checks) store() {
	s := &v.c.Store
	if (s.TLS.Cert == "") != (s.TLS.Key == "") {
		v.check("store.tls", errors.New("write both cert and key, or neither for no TLS"))
	}
	if s.TLS.CA != "" && s.TLS.Cert == "" {
		v.check("store.tls.ca", errors.New("it has no effect without store.tls.cert"))
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if len(s.Peers) > 0 && err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() && !loopback(s.Peers) {
			v.check("store.listen", fmt.Errorf("%s reaches this machine only, and store.peers are elsewhere: write an address of the network", s.Listen))
		}
	}
	if n := len(s.Peers); n == 2 || n == 4 {
		v.check("store.peers", fmt.Errorf("%d stores survive no more failures than %d: write %d or %d", n, n-1, n-1, n+1))
	}
}

// own is where this store's peers should find it. "": it cannot be told, since it listens at each address, is known by another one,
// or peers have names.
func (s *Store) own() string {
	host, _, _ := net.SplitHostPort(s.Listen)
	ip := net.ParseIP(host)
	if ip == nil || ip.IsUnspecified() || s.Advertise != "" {
		return ""
	}
	for _, r := range s.routes() {
		if host, _, _ := net.SplitHostPort(r); net.ParseIP(host) == nil {
			return ""
		}
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(s.RoutePort))
}

// routes are the peers as "host:port".
func (s *Store) routes() (all []string) {
	for _, p := range s.Peers {
		host, port, err := net.SplitHostPort(p)
		if err != nil {
			host, port = strings.Trim(p, "[]"), strconv.Itoa(s.RoutePort)
		}
		if ip := net.ParseIP(host); ip != nil {
			host = ip.String()
		}
		all = append(all, net.JoinHostPort(host, port))
	}
	return all
}

// StoreWarnings lists what of the store works and is not safe.
func (c *Config) StoreWarnings() []string {
	s := &c.Store
	host, _, err := net.SplitHostPort(s.Listen)
	if ip := net.ParseIP(host); err != nil || ip != nil && ip.IsLoopback() || host == "localhost" || s.Credentials != "" || s.TLS.CA != "" {
		return nil
	}
	return []string{c.Origin("store.listen") + ": whoever reaches " + s.Listen +
		" may read, change and end all calls: name a file in store.credentials, or the CA of the nodes in store.tls.ca"}
}

// loopback reports whether all are on this machine.
func loopback(peers []string) bool {
	for _, p := range peers {
		if host, _, err := net.SplitHostPort(p); err == nil {
			p = host
		}
		if ip := net.ParseIP(strings.Trim(p, "[]")); ip == nil || !ip.IsLoopback() {
			return false
		}
	}
	return true
}

// StoreConfig is the section as its package wants it, with the password of the
// file.
func (c *Config) StoreConfig() (store.Config, error) {
	s := &c.Store
	out := store.Config{Listen: s.Listen, Peers: s.Peers, RoutePort: s.RoutePort, Advertise: s.Advertise, Dir: s.Dir, TLS: store.TLS(s.TLS),
		MaxMemory: int64(s.MaxMemory), MaxDisk: int64(s.MaxDisk), Health: s.Health}
	if out.Dir == "" {
		out.Dir = filepath.Join(c.DataDir, "store")
	}
	if s.Sync != syncAlways {
		out.Sync, _ = time.ParseDuration(s.Sync) // checked
	}
	if s.Credentials != "" {
		text, err := limit.ReadFile(s.Credentials, store.MaxCredentials)
		if err == nil {
			out.User, out.Password, err = store.ParseCredentials(string(text))
		}
		if err != nil {
			return out, c.At("store.credentials", fmt.Errorf("store.credentials: %s: %w", s.Credentials, withoutPath(err)))
		}
	}
	return out, nil
}

// withoutPath takes the file's name out of an error, where it has been said.
func withoutPath(err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// LoadStore reads a configuration for `sipxrest store`: a machine that only keeps
// needs neither a domain nor users.
func LoadStore(src Source) (Config, error) {
	cfg, err := read(src)
	said := slices.ContainsFunc(cfg.Store.rows(), func(r row) bool { return cfg.IsSet(r.Name) })
	if err != nil && !(said && errors.Is(err, ErrNoConfig)) { // the command line may say all
		return cfg, err
	}
	v := checks{c: &cfg}
	for _, r := range append(cfg.Store.rows(), cfg.rowsOf("log.level", "log.format")...) {
		if r.Check != nil {
			for _, err := range Flatten(r.Check(r.Set.At)) {
				v.check(r.Name, err)
			}
		}
	}
	v.store()
	s := &cfg.Store // a node without a store may have the same file
	if own := s.own(); len(v.errs) == 0 && own != "" && len(s.Peers) > 0 && !slices.Contains(s.routes(), own) {
		v.check("store.peers", fmt.Errorf("this store's own address, %s, is not among them: write the same list at each", own))
	}
	return cfg, errors.Join(v.errs...)
}

func (c *Config) rowsOf(names ...string) (out []row) {
	for _, r := range c.rows() {
		for _, n := range names {
			if r.Name == n {
				out = append(out, r)
			}
		}
	}
	return out
}
