//go:build !nostore

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
)

func TestAStoreIsAProcessOfItsOwn(t *testing.T) {
	at := "127.0.0.1:" + freePort(t)
	p := startProgram(t, "store", "--set", "store.listen="+at, "--set", "store.dir="+t.TempDir())
	if line := p.waitFor("the store serves"); !strings.Contains(line, at) {
		t.Error(line)
	}
	nc, err := nats.Connect("nats://" + at)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	p.signal(syscall.SIGTERM)
	p.waitFor("the store has ended")
	if code := p.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAStoreThatCannotStartSaysWhy(t *testing.T) {
	for args, want := range map[string]string{
		"--set store.listen=nowhere":                   "--set: store.listen: ",
		"--set store.sync=0s":                          "store.sync: 0s is not between",
		"--config " + filepath.Join(t.TempDir(), "no"): "no such file",
	} {
		code, out, stderr := command("", nil, append([]string{"store"}, strings.Fields(args)...)...)
		if code != 1 || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
}

// The commands of a cluster need a node that runs here.
func TestTheCommandsOfAClusterSayWhatTheyNeed(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{"cluster status", "cluster drain b", "cluster fence b"} {
		single := []string{"--set", "domain=sipx.test", "--set", "users=[u.yaml]", "--data-dir", dir}
		code, _, stderr := command("", nil, append(strings.Fields(args), single...)...)
		if code != 1 || !strings.Contains(stderr, "cluster.nats is not set: this is a single node") {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
		node := append(single, "--set", "cluster.nats=nats://127.0.0.1:4222", "--set", "cluster.node=a")
		code, _, stderr = command("", nil, append(strings.Fields(args), node...)...)
		if code != 1 || !strings.Contains(stderr, "no service answers in data-dir "+dir) {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
}

// The unit of the store has the commands that there are, and waits for its peers.
func TestTheUnitOfTheStoreStartsIt(t *testing.T) {
	text, err := os.ReadFile("../../packaging/sipxrest-store.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := string(text)
	if !regexp.MustCompile(`(?m)^ExecStart=/usr/bin/sipxrest store --config /etc/sipxrest/sipxrest.yaml$`).MatchString(unit) ||
		!strings.Contains(unit, "\nType=notify\n") {
		t.Error(unit)
	}
	// Both run as the same user, and each has a part of one folder: neither takes it
	// from the other.
	for _, line := range []string{"User=sipxrest", "StateDirectory=sipxrest", "NoNewPrivileges=yes", "ProtectSystem=strict"} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("it lacks %s", line)
		}
	}
}
