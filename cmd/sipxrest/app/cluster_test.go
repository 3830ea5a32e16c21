package app

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"sipxrest/cluster/store"
	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/dialout"
	"sipxrest/internal/await"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// newStore starts a store that is alone.
func newStore(t *testing.T) *store.Server {
	t.Helper()
	s, err := store.Start(store.Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), Sync: time.Minute, MaxMemory: 16 << 20, MaxDisk: 1 << 30},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// nodeOf is the configuration of a node.
func nodeOf(t *testing.T, name, store, proxy string) config.Config {
	cfg := testConfig(t, proxy)
	cfg.Cluster.NATS, cfg.Cluster.Node = []string{"nats://" + store}, name
	cfg.Metrics.Listen = "127.0.0.1:0"
	return cfg
}

// ready returns why a service is not ready, and nil once it is.
func (s *service) ready() error {
	resp, err := s.client.Get(s.MetricsURL() + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	return err
}

// pair starts two nodes of one cluster that know each other.
func pair(t *testing.T) (a, b *service, kept *store.Server) {
	t.Helper()
	_, phone := apptest.Phone(t, siptest.Script{})
	kept = newStore(t)
	a, b = start(t, nodeOf(t, "a", kept.Addr(), phone)), start(t, nodeOf(t, "b", kept.Addr(), phone))
	for _, s := range []*service{a, b} {
		await.Nil(t, s.ready)
		await.Nil(t, func() error {
			for _, m := range s.cluster.Members() {
				if !m.Self && m.State == "live" {
					return nil
				}
			}
			return errors.New("the nodes do not know each other")
		})
	}
	return a, b, kept
}

func TestACallOfOneNodeIsKnownAtTheOther(t *testing.T) {
	a, b, _ := pair(t)
	k := keeper{a.cluster}
	key := sipflow.Key{Agent: "201", Calling: "201", Called: "202"}
	if err := k.Claim(t.Context(), key, "call_1", []byte{2, 'x'}); err != nil {
		t.Fatal(err)
	}
	at, err := b.cluster.Find(t.Context(), key.String())
	if err != nil || at.Node != "a" || at.ID != "call_1" || !at.Live || at.Mine {
		t.Fatalf("%+v, %v", at, err)
	}
	var held *sipflow.HeldError
	if err := (keeper{b.cluster}).Claim(t.Context(), key, "call_2", []byte{2, 'y'}); !errors.As(err, &held) ||
		!strings.Contains(err.Error(), "call_1 has it at node a") {
		t.Errorf("the same key at the other node: %v", err)
	}
	k.Drop("call_1", []byte("over"), time.Minute)
	await.Nil(t, func() error {
		at, err = b.cluster.FindID(t.Context(), "call_1")
		if err == nil && (at.Live || string(at.Record) != "over") {
			err = errors.New("the call still lives")
		}
		return err
	})
}

// A command at one node sees all, and drains the other.
func TestOperatorsAskAnyNodeForAll(t *testing.T) {
	a, b, _ := pair(t)
	status, err := AskCluster(t.Context(), &a.cfg)
	if err != nil || status.Name != "sipxrest" || len(status.Nodes) != 2 {
		t.Fatalf("%+v, %v", status, err)
	}
	for _, n := range status.Nodes {
		if !n.Answers || !n.Holds || n.LeaseMS <= 0 || n.Differs || n.State != "live" || n.Self != (n.Node == "a") || n.Store == "" {
			t.Errorf("%+v", n)
		}
	}
	if err := OrderNode(t.Context(), &a.cfg, "drain", "c"); err == nil || !strings.Contains(err.Error(),
		"node c does not answer; known are [a b]") {
		t.Error(err)
	}
	if err := OrderNode(t.Context(), &a.cfg, "fence", "a"); err == nil || !strings.Contains(err.Error(), "a node cannot be fenced by itself") {
		t.Error(err)
	}
	if err := OrderNode(t.Context(), &a.cfg, "drain", "b"); err != nil {
		t.Fatal(err)
	}
	if err := b.ready(); err == nil || !strings.Contains(err.Error(), "cluster: the node is being drained") ||
		strings.Contains(err.Error(), "shutting down") {
		t.Errorf("/readyz: %v", err)
	}
	if resp := b.do("POST", b.Addrs()[1]+"/callcontroller/201/202"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("POST at a node that is drained: %d, %v", resp.StatusCode, resp.Header)
	}
	if err := a.ready(); err != nil {
		t.Errorf("the other node: %v", err)
	}
}

// A node that an operator fences forgets its calls, and begins anew.
func TestANodeThatIsFencedBeginsAnew(t *testing.T) {
	a, b, _ := pair(t)
	was := b.cluster.Incarnation()
	if err := OrderNode(t.Context(), &a.cfg, "fence", "b"); err != nil {
		t.Fatal(err)
	}
	await.Nil(t, func() error {
		if now := b.cluster.Incarnation(); now == was || now == "" {
			return errors.New("it is the same incarnation")
		}
		return b.ready()
	})
}

// While the store is away a node is not ready and takes no calls, which is said.
func TestWithoutTheStoreANodeTakesNoCalls(t *testing.T) {
	_, phone := apptest.Phone(t, siptest.Script{})
	kept := newStore(t)
	kept.Kill()
	cfg := nodeOf(t, "a", kept.Addr(), phone)
	s := start(t, cfg)
	if err := s.ready(); err == nil || !strings.Contains(err.Error(), "cluster: the store has not answered yet") {
		t.Errorf("/readyz: %v", err)
	}
	if resp := s.do("POST", s.Addrs()[1]+"/callcontroller/201/202"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("POST without the store: %d, %v", resp.StatusCode, resp.Header)
	}
	if resp := s.do("GET", s.MetricsURL()+"/healthz"); resp.StatusCode != 200 {
		t.Errorf("/healthz: %d: a node in limbo must not be restarted", resp.StatusCode)
	}
}

// A second node of the same name does not start.
func TestANameIsOneNodes(t *testing.T) {
	a, _, kept := pair(t)
	_ = a
	_, phone := apptest.Phone(t, siptest.Script{})
	other := start(t, nodeOf(t, "a", kept.Addr(), phone))
	if err := other.stop(); err == nil || !strings.Contains(err.Error(), `cluster.node: another process has the name "a"`) {
		t.Error(err)
	}
}

func TestFaultsOfAClustersFilesNameTheirKeys(t *testing.T) {
	_, phone := apptest.Phone(t, siptest.Script{})
	cfg := nodeOf(t, "a", "127.0.0.1:1", phone)
	cfg.Cluster.Credentials = filepath.Join(t.TempDir(), "none")
	if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "cluster.credentials: ") {
		t.Error(err)
	}
	cfg.Cluster.Credentials, cfg.Cluster.TLS.CA = "", cfg.Users[0]
	if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "cluster.tls.ca: ") {
		t.Error(err)
	}
}

// A service without the section has no node, no engine, and no goroutine of either.
func TestASingleNodeHasNothingOfACluster(t *testing.T) {
	_, phone := apptest.Phone(t, siptest.Script{})
	s := start(t, testConfig(t, phone))
	if s.cluster != nil || s.clustered != nil {
		t.Error("it is a node")
	}
	for _, f := range s.features {
		if strings.Contains(f.name, "cluster") {
			t.Errorf("it has the feature %s", f.name)
		}
	}
	var text strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&text, 2); err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{"sipxrest/cluster", "nats-io/"} {
		if strings.Contains(text.String(), of) {
			t.Errorf("a goroutine of %s runs:\n%s", of, text.String())
		}
	}
	if _, err := AskCluster(t.Context(), &s.cfg); !errors.Is(err, ErrSingle) {
		t.Error(err)
	}
}

// Each node has the secrets that calls of another one need.
func TestSecretsOfCallsThatAreTakenOver(t *testing.T) {
	_, phone := apptest.Phone(t, siptest.Script{})
	cfg := testConfig(t, phone)
	cfg.Dialout.Gateway = dialout.Gateway{URI: "sip:gw.example", User: "trunk", Secret: "gateway-secret", DefaultNumber: "+4930123456"}
	s := start(t, cfg)
	for _, c := range []struct{ user, gateway, password string }{{"201", "", "123"}, {"nobody", "", ""}, {"trunk", "", ""},
		{"trunk", "sip:gw.example", "gateway-secret"}, {"trunk", "sip:other.example", ""}, {"201", "sip:gw.example", ""}} {
		if cred, ok := s.account(c.user, c.gateway); ok != (c.password != "") || ok && cred.Password != c.password {
			t.Errorf("%s at %q: %v, %s", c.user, c.gateway, ok, cred.Password)
		}
	}
}

func TestMetricsOfACluster(t *testing.T) {
	a, _, _ := pair(t)
	resp, err := a.client.Get(a.MetricsURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"sipxrest_cluster_holds 1", `sipxrest_cluster_nodes{state="live"} 2`, "sipxrest_cluster_lease_seconds ",
		`sipxrest_cluster_takeovers_total{flow="invite",result="lost",state="bridged"} 0`,
		`sipxrest_cluster_tick_failures_total{why="gap"} 0`, "sipxrest_config_differs 0",
		"sipxrest_cluster_tick_seconds_count ", "sipxrest_cluster_zombie_total 0"} {
		if !strings.Contains(string(text), "\n"+want) {
			t.Errorf("it lacks %s", want)
		}
	}
}

// Stores are known to be on this machine by their addresses, of loopback by that of
// SIP alone.
func TestStoresOnThisMachineAreKnown(t *testing.T) {
	cfg := config.Default()
	cfg.SIP.Listen = []string{"udp:127.0.0.2:6050"}
	cfg.Cluster.Node = "node-a"
	local := onThisMachine(&cfg)
	for server, want := range map[string]bool{"127.0.0.2:4222": true, "127.0.0.3:4222": false, "node-a:4222": true,
		"192.0.2.1:4222": false, "NATS1": false} {
		if local(server) != want {
			t.Errorf("%s: not %v", server, want)
		}
	}
}
