package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sipxrest/cluster/store"
)

// load reads a configuration of so many lines beside what is required.
func loadText(t *testing.T, text string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sipxrest.yaml")
	if err := os.WriteFile(file, []byte("domain: sipx.test\nusers: [users.yaml]\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Source{File: file})
}

func TestWithoutServersThereIsNoCluster(t *testing.T) {
	cfg, err := loadText(t, "")
	if err != nil || cfg.Cluster.InUse() {
		t.Errorf("%v, %v", cfg.Cluster, err)
	}
	cfg, err = loadText(t, "cluster: {nats: \"nats://10.0.0.5:4222\", node: a}")
	c := cfg.Cluster
	if err != nil || !c.InUse() || c.Name != "sipxrest" || c.Takeover != "keep" || c.Lease != 4*time.Second || c.TakeoverRate != 500 ||
		c.Flush != 5*time.Millisecond || c.WithoutStore != "refuse" || c.Replicas != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestFaultsOfAClusterAreNamed(t *testing.T) {
	const nats = "nats: [\"nats://10.0.0.5:4222\"], "
	for text, want := range map[string]string{
		"cluster: {node: a}":                                              "cluster.node: it has no effect without cluster.nats",
		"cluster: {lease: 5s}":                                            "cluster.lease: it has no effect without cluster.nats",
		"cluster: {nats: [10.0.0.5]}":                                     `cluster.nats: "10.0.0.5": write nats://`,
		"cluster: {nats: [\"http://10.0.0.5\"]}":                          "write nats://10.0.0.5:4222, or tls://",
		"cluster: {nats: [\"nats://u:s3cret@10.0.0.5\"]}":                 "cluster.nats: a password in a URL would be in logs",
		"cluster: {nats: [\"nats://10.0.0.5/x\"]}":                        "without a path",
		"cluster: {nats: [\"nats://10.0.0.5:99999\"]}":                    `"99999" is not a port`,
		"cluster: {nats: [\"nats://a_b!:4222\"]}":                         "cluster.nats: ",
		"cluster: {nats: [\"nats://10.0.0.5\", \"tls://10.0.0.6\"]}":      "either all servers have TLS",
		"cluster: {" + nats + "node: a.b}":                                `cluster.node: "a.b": write up to 32 letters`,
		"cluster: {" + nats + "node: \"a b\"}":                            "cluster.node: ",
		"cluster: {" + nats + "name: \"\"}":                               `cluster.name: "": write`,
		"cluster: {" + nats + "name: \"x>\"}":                             "cluster.name: ",
		"cluster: {" + nats + "node: a, lease: 1s}":                       "cluster.lease: 1s is not between 2s and 30s",
		"cluster: {" + nats + "node: a, flush: 1s}":                       "cluster.flush: 1s is not between 1ms and 50ms",
		"cluster: {" + nats + "node: a, takeover: kepe}":                  `cluster.takeover: "kepe" is unknown: did you mean "keep"?`,
		"cluster: {" + nats + "node: a, without-store: no}":               "cluster.without-store: ",
		"cluster: {" + nats + "node: a, takeover-rate: -1}":               "cluster.takeover-rate: -1 is not between",
		"cluster: {" + nats + "node: a, replicas: 2}":                     "cluster.replicas: 2: an even number",
		"cluster: {" + nats + "node: a, replicas: 7}":                     "cluster.replicas: 7 is not between 1 and 5",
		"cluster: {" + nats + "node: a, tls: {cert: x.crt}}":              "cluster.tls: write both cert and key",
		"cluster: {" + nats + "node: a, nods: b}":                         "unknown key",
		"store: {listen: 10.0.0.5}":                                       "store.listen: \"10.0.0.5\": write host:port",
		"store: {listen: \"10.0.0.5:0\"}":                                 "store.listen: port 0",
		"store: {peers: [10.0.0.5, 10.0.0.6, 10.0.0.7]}":                  "store.listen: 127.0.0.1:4222 reaches this machine only",
		"store: {listen: \"10.0.0.5:4222\", peers: [10.0.0.5, 10.0.0.6]}": "store.peers: 2 stores survive no more failures than 1",
		"store: {peers: [127.0.0.2, 127.0.0.2, 127.0.0.3]}":               "store.peers: \"127.0.0.2\" is there twice",
		"store: {peers: [\"127.0.0.2:x\"]}":                               "store.peers: ",
		"store: {sync: 1ms}":                                              "store.sync: 1ms is not between 1s and 1h0m0s",
		"store: {sync: never}":                                            `store.sync: "never": write a time such as 2m, or always`,
		"store: {max-disk: 5}":                                            "store.max-disk: 5 is not between",
		"store: {health: x}":                                              "store.health: \"x\": write host:port",
		"store: {advertise: x}":                                           "store.advertise: \"x\": write host:port",
		"store: {tls: {key: x}}":                                          "store.tls: write both cert and key",
		"store: {tls: {ca: x}}":                                           "store.tls.ca: it has no effect",
		"store: {route-port: 0}":                                          "store.route-port: 0 is not between",
	} {
		_, err := loadText(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v\nnot %s", text, err, want)
		}
	}
}

// A machine that only keeps has neither a domain nor users.
func TestAStoresConfigurationNeedsNoDomain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "store.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "creds"), []byte("node:s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	write("data-dir: kept\nstore: {listen: \"127.0.0.2:4222\", peers: [127.0.0.2, 127.0.0.3, 127.0.0.4], sync: always, credentials: creds}\n")
	cfg, err := LoadStore(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	got, err := cfg.StoreConfig()
	if err != nil {
		t.Fatal(err)
	}
	want := store.Config{Listen: "127.0.0.2:4222", Peers: []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}, RoutePort: 6222,
		Dir: filepath.Join(dir, "kept", "store"), User: "node", Password: "s3cret", MaxMemory: 128 << 20, MaxDisk: 4 << 30}
	if got.Listen != want.Listen || !slices.Equal(got.Peers, want.Peers) || got.RoutePort != want.RoutePort || got.Dir != want.Dir ||
		got.Sync != 0 ||
		got.User != want.User || got.Password != want.Password || got.MaxMemory != want.MaxMemory || got.MaxDisk != want.MaxDisk {
		t.Errorf("%+v\nnot %+v", got, want)
	}
	write("store: {listen: x}\nlog: {level: loud}\n")
	if _, err := LoadStore(Source{File: file}); err == nil || !strings.Contains(err.Error(), "store.listen: ") ||
		!strings.Contains(err.Error(), "log.level: ") || strings.Contains(err.Error(), "domain") {
		t.Error(err)
	}
	write("store: {credentials: none}\n")
	if cfg, err = LoadStore(Source{File: file}); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.StoreConfig(); err == nil || !strings.Contains(err.Error(), "store.yaml:1: store.credentials: ") {
		t.Error(err)
	}
}

// The hash of what must be the same at all nodes knows what counts.
func TestWhatNodesShareHasAHash(t *testing.T) {
	hash := func(users, more string) string {
		t.Helper()
		dir := t.TempDir()
		file := filepath.Join(dir, "sipxrest.yaml")
		for name, text := range map[string]string{"users.yaml": users, "sipxrest.yaml": "domain: sipx.test\nusers: [users.yaml]\n" + more,
			"rules/a.yaml": "- {id: r, url: \"https://hooks.example/\"}"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cfg, err := Load(Source{File: file})
		if err != nil {
			t.Fatal(err)
		}
		h, err := cfg.Shared()
		if err != nil || len(h) != 16 {
			t.Fatalf("%q, %v", h, err)
		}
		return h
	}
	same := hash("- {user: a}", "")
	if again := hash("- {user: a}", "drain: 5s"); again != same {
		t.Errorf("%s and %s of the same in other folders, with another drain", again, same)
	}
	seen := map[string]string{same: "the first"}
	for _, c := range []struct{ name, users, more string }{
		{"users", "- {user: b}", ""},
		{"policy", "- {user: a}", "policy: no-premium"},
		{"policies", "- {user: a}", "policies: {staff: [{default: allow}]}"},
		{"country", "- {user: a}", "dial: {country: DE}"},
		{"trunk", "- {user: a}", "dispatch: {trunks: [{name: x, sources: [192.0.2.1]}]}"},
		{"trunk's source", "- {user: a}", "dispatch: {trunks: [{name: x, sources: [192.0.2.2]}]}"},
		{"rule", "- {user: a}", "dispatch: {rules: [{id: r, url: \"https://hooks.example/\"}]}"},
		{"rule's URL", "- {user: a}", "dispatch: {rules: [{id: r, url: \"https://hooks.example/b\"}]}"},
		{"rules' folder", "- {user: a}", "dispatch: {rules-dir: rules}"},
	} {
		h := hash(c.users, c.more)
		if other := seen[h]; other != "" {
			t.Errorf("%s has the hash of %s", c.name, other)
		}
		seen[h] = c.name
	}
}

// A store that its peers do not list keeps nothing for them that they know of.
func TestAStoreIsAmongItsPeers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "store.yaml")
	for text, wrong := range map[string]bool{
		`{listen: "10.0.0.5:4222", peers: [10.0.0.5, 10.0.0.6, 10.0.0.7]}`:                                     false,
		`{listen: "10.0.0.8:4222", peers: [10.0.0.5, 10.0.0.6, 10.0.0.7]}`:                                     true,
		`{listen: "10.0.0.5:4222", route-port: 7, peers: ["10.0.0.5:7", 10.0.0.6, 10.0.0.7]}`:                  false,
		`{listen: "10.0.0.5:4222", peers: ["10.0.0.5:7", 10.0.0.6, 10.0.0.7]}`:                                 true,
		`{listen: "[fd00::5]:4222", peers: ["fd00:0::5", "fd00::6", "fd00::7"]}`:                               false,
		`{listen: "10.0.0.8:4222", peers: [a.test, b.test, c.test]}`:                                           false,
		`{listen: "0.0.0.0:4222", peers: [10.0.0.5, 10.0.0.6, 10.0.0.7]}`:                                      false,
		`{listen: "10.0.0.8:4222", advertise: "198.51.100.5:6222", peers: [198.51.100.5, 10.0.0.6, 10.0.0.7]}`: false,
		`{listen: "10.0.0.8:4222"}`: false,
	} {
		if err := os.WriteFile(file, []byte("store: "+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		const want = "store.peers: this store's own address, "
		if _, err := LoadStore(Source{File: file}); (err != nil) != wrong || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := loadText(t, `store: {listen: "10.0.0.8:4222", peers: [10.0.0.5, 10.0.0.6, 10.0.0.7]}`); err != nil {
		t.Errorf("a node without a store, with the others' file: %v", err)
	}
}
