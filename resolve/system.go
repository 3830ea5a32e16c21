package resolve

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"sipxrest/internal/limit"
)

// watched is a file read again when its time or size has changed, looked at
// every recheckFile: a new name server needs no restart.
type watched[T any] struct {
	path  string
	parse func([]byte) T

	mu      sync.Mutex
	checked time.Time // guarded by mu, as all below
	changed time.Time
	size    int64
	value   T
}

func newWatched[T any](path string, parse func([]byte) T) *watched[T] {
	return &watched[T]{path: path, parse: parse, value: parse(nil)}
}

// get returns what the file says. A file that cannot be read says what an
// empty one does.
func (w *watched[T]) get(now time.Time) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.checked.IsZero() && now.Sub(w.checked) < recheckFile && !now.Before(w.checked) {
		return w.value
	}
	w.checked = now
	var changed time.Time
	var size int64
	if info, err := os.Stat(w.path); err == nil && info.Mode().IsRegular() {
		changed, size = info.ModTime(), info.Size()
	}
	if changed.Equal(w.changed) && size == w.size {
		return w.value
	}
	w.changed, w.size = changed, size
	var text []byte
	if !changed.IsZero() {
		text, _ = limit.ReadFile(w.path, maxSystemFile)
	}
	w.value = w.parse(text)
	return w.value
}

// maxSystemFile bounds the hosts file and resolv.conf, in bytes: lists of names
// that are to lead nowhere have several MiB.
const maxSystemFile = 16 << 20

// parseHostsFile reads hosts(5). localhost is always known (RFC 6761 §6.3).
func parseHostsFile(text []byte) map[string][]netip.Addr {
	hosts := map[string][]netip.Addr{}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || !usable(addr.Unmap()) {
			continue
		}
		addr = addr.Unmap()
		for _, name := range fields[1:] {
			host, _, err := parseHost(name)
			if err == nil && len(hosts[host]) < maxAddrs && !slices.Contains(hosts[host], addr) {
				hosts[host] = append(hosts[host], addr)
			}
		}
	}
	if hosts["localhost"] == nil {
		hosts["localhost"] = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return hosts
}

// parseResolvConf reads the name servers of resolv.conf(5). Without any it is
// the local one, as resolver(3) has it.
func parseResolvConf(text []byte) []string {
	var servers []string
	if conf, err := dns.ClientConfigFromReader(bytes.NewReader(text)); err == nil {
		for _, s := range conf.Servers {
			if server, err := serverAddress(s); err == nil && len(servers) < 8 {
				servers = append(servers, server)
			}
		}
	}
	if len(servers) == 0 {
		servers = []string{"127.0.0.1:53"}
	}
	return servers
}

// inHosts returns the addresses that Config.Hosts or the hosts file give host.
func (r *Resolver) inHosts(host string) []netip.Addr {
	if addrs, ok := r.fixedHosts[host]; ok {
		return addrs
	}
	return r.hostsFile.get(r.now())[host]
}

func (r *Resolver) servers() []string {
	if len(r.fixedServer) > 0 {
		return r.fixedServer
	}
	return r.resolvConf.get(r.now())
}

// downList remembers the name servers that did not answer, so that one dead
// server does not delay every look-up.
type downList struct {
	mu    sync.Mutex
	until map[string]time.Time // guarded by mu; as many as there are servers
}

// order returns servers with those that did not answer lately at the end.
func (d *downList) order(servers []string, now time.Time) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s, until := range d.until {
		if !now.Before(until) {
			delete(d.until, s)
		}
	}
	if len(d.until) == 0 {
		return servers
	}
	sorted := slices.Clone(servers)
	slices.SortStableFunc(sorted, func(a, b string) int {
		return d.rank(a) - d.rank(b)
	})
	return sorted
}

func (d *downList) rank(server string) int {
	if _, down := d.until[server]; down {
		return 1
	}
	return 0
}

func (d *downList) failed(server string, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil {
		d.until = map[string]time.Time{}
	}
	d.until[server] = until
}

func (d *downList) answered(server string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.until, server)
}
