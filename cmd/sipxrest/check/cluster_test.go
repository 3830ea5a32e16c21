package check

import (
	"log/slog"
	"testing"
	"time"

	"sipxrest/cluster/store"
	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/sipflow/siptest"
)

func TestCheckTriesTheStore(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	s, err := store.Start(store.Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), Sync: time.Minute, MaxMemory: 16 << 20, MaxDisk: 1 << 30},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	file := func(cluster string) string {
		return apptest.Write(t, dir, "sipxrest.yaml",
			apptest.Minimal+"\ndata-dir: data\nsip: {listen: [udp:127.0.0.1:6050], outbound-proxy: [sip:"+
				proxy+"]}\ncluster: {"+cluster+", node: a}\n")
	}
	ok, out := checked(t, file(`nats: ["nats://`+s.Addr()+`"]`))
	wants(t, out, "ok cluster nats://"+s.Addr()+" answers: "+s.Name()+", NATS 2.",
		"ok cluster the store takes writes with conditions, 1 replica",
		"note cluster each state is at one server", "note cluster node a does not run here", "No problem found")
	if !ok {
		t.Error(out)
	}
	ok, out = checked(t, file(`nats: ["nats://`+s.Addr()+`"], replicas: 3`))
	wants(t, out, "problem cluster a stream with 3 replicas cannot be made: ")
	if ok {
		t.Error(out)
	}
	s.Kill()
	ok, out = checked(t, file(`nats: ["nats://`+s.Addr()+`"]`))
	wants(t, out, "sipxrest.yaml:6: cluster.nats: nats://"+s.Addr()+": dial tcp "+s.Addr()+": connect: connection refused",
		"problem cluster no server answers: start sipxrest-store")
	if ok {
		t.Error(out)
	}
}
