package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// composed is what is looked at of a compose file.
type composed struct {
	Services map[string]struct {
		Build struct{ Context, Dockerfile string }
		Image string

		Command     []string
		Environment map[string]string
		Volumes     []string
		DependsOn   []string `yaml:"depends_on"`
		Networks    any
	}
	Volumes  map[string]any
	Networks map[string]struct {
		IPAM struct{ Config []struct{ Subnet string } }
	}
}

// address is that of a service in its network, the zero one for any.
func address(networks any) (at netip.Addr) {
	all, _ := networks.(map[string]any)
	for _, n := range all {
		settings, _ := n.(map[string]any)
		text, _ := settings["ipv4_address"].(string)
		at, _ = netip.ParseAddr(text)
	}
	return at
}

// There is no container engine where tests run. So each service's command is read as the program would
// read it, with the files that are mounted, and each address must be that of a service.
func TestComposeFilesFitWhatTheyStart(t *testing.T) {
	const root = "../../.."
	for file, want := range map[string]string{
		"compose.yaml":         "1 serve, 0 store",
		"compose-cluster.yaml": "3 serve, 3 store",
	} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		var c composed
		if err := yaml.Unmarshal(text, &c); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		known := map[netip.Addr]string{}
		subnets := ""
		for _, n := range c.Networks {
			for _, config := range n.IPAM.Config {
				subnets += config.Subnet
			}
		}
		for name, s := range c.Services {
			at := address(s.Networks)
			if !at.IsValid() {
				continue
			}
			if other, taken := known[at]; taken {
				t.Errorf("%s: %s and %s have one address", file, name, other)
			}
			known[at] = name
			if !netip.MustParsePrefix(subnets).Contains(at) {
				t.Errorf("%s: %s is not in %s", file, at, subnets)
			}
		}
		is := func(where, host string) {
			if at, err := netip.ParseAddr(host); err != nil || known[at] == "" {
				t.Errorf("%s: %s: no service has the address %q", file, where, host)
			}
		}
		count := map[string]int{}
		for name, s := range c.Services {
			where := file + ": " + name
			if s.Build.Context != "" {
				if _, err := os.Stat(filepath.Join(root, s.Build.Context, s.Build.Dockerfile)); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			} else if s.Image == "" {
				t.Errorf("%s has neither image nor build", where)
			}
			for _, other := range s.DependsOn {
				if _, ok := c.Services[other]; !ok {
					t.Errorf("%s depends on %s", where, other)
				}
			}
			mounts := map[string]string{}
			for _, v := range s.Volumes {
				from, to, _ := strings.Cut(v, ":")
				to, _, _ = strings.Cut(to, ":")
				if !strings.HasPrefix(from, ".") {
					if _, ok := c.Volumes[from]; !ok {
						t.Errorf("%s: volume %s is none of the file's", where, from)
					}
					continue
				}
				if _, err := os.Stat(filepath.Join(root, from)); err != nil {
					t.Errorf("%s: %v", where, err)
				}
				mounts[to] = filepath.Join(root, from)
			}
			if len(s.Command) == 0 || s.Command[0] != "serve" && s.Command[0] != "store" {
				continue
			}
			count[s.Command[0]]++
			src := Source{Environ: []string{"SIPXREST_DATA_DIR=" + t.TempDir()}}
			for key, value := range s.Environment {
				src.Environ = append(src.Environ, key+"="+value)
			}
			if i := slices.Index(s.Command, "--config"); i > 0 {
				folder, base := filepath.Split(s.Command[i+1])
				src.File = filepath.Join(mounts[filepath.Clean(folder)], base)
			}
			if s.Command[0] == "store" {
				cfg, err := LoadStore(src)
				if err != nil {
					t.Errorf("%s: %v", where, err)
				}
				own, err := netip.ParseAddrPort(cfg.Store.Listen)
				if err != nil || own.Addr() != address(s.Networks) || !slices.Contains(cfg.Store.Peers, own.Addr().String()) {
					t.Errorf("%s listens at %s, one of %v: %v", where, cfg.Store.Listen, cfg.Store.Peers, err)
				}
				for _, p := range cfg.Store.Peers {
					is(where, p)
				}
				continue
			}
			cfg, err := Load(src)
			if err != nil {
				t.Errorf("%s: %v", where, err)
				continue
			}
			for _, at := range cfg.SIP.Listen {
				_, at, _ = strings.Cut(at, ":")
				if own, err := netip.ParseAddrPort(at); err != nil || own.Addr() != address(s.Networks) {
					t.Errorf("%s listens for SIP at %s: %v", where, at, err)
				}
			}
			for _, p := range append(slices.Clone(cfg.SIP.OutboundProxy), cfg.Cluster.NATS...) {
				_, p, _ = strings.Cut(p, ":")
				host, _, _ := strings.Cut(strings.TrimPrefix(p, "//"), ":")
				is(where, host)
			}
			if node := cfg.Cluster.Node; cfg.Cluster.InUse() && node != name {
				t.Errorf("%s is node %q", where, node)
			}
		}
		if got := fmt.Sprintf("%d serve, %d store", count["serve"], count["store"]); got != want {
			t.Errorf("%s starts %s, want %s", file, got, want)
		}
	}
	balancer, err := os.ReadFile(filepath.Join(root, "packaging/demo/cluster/haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{"node-a 172.31.251.11:6667", "node-b 172.31.251.12:6667", "node-c 172.31.251.13:6667"} {
		if !strings.Contains(string(balancer), "server "+server) {
			t.Errorf("haproxy.cfg has no server %s", server)
		}
	}
}
