package config

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sipxrest/cmd/sipxrest/apptest"
)

func TestASipXInstallationIsReadAsItIs(t *testing.T) {
	cfg, err := Load(Source{ConfDir: "testdata/sipx-4.2"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Domain, want.Realm = "sipx.test", "realm.sipx.test"
	want.SIP.Listen = []string{"udp:192.0.2.10:6050", "tcp:192.0.2.10:6050"}
	want.HTTP = []HTTPListener{{":6666", &TLS{}, "trusted-or-pin"}, {":6667", nil, "pin"}}
	want.Users = []string{"testdata/sipx-4.2/validusers.xml"}
	if diff := cmp.Diff(want, cfg, ignoreOrigin); diff != "" {
		t.Error(diff)
	}
}

func TestALaterSipXInstallationNeedsItsUsersNamed(t *testing.T) {
	_, err := Load(Source{ConfDir: "testdata/sipx-4.6"})
	if err == nil || !strings.Contains(err.Error(), "users are in MongoDB") || !strings.Contains(err.Error(), "--users FILE") {
		t.Fatalf("error %v", err)
	}
	cfg, err := Load(Source{ConfDir: "testdata/sipx-4.6", Set: []Setting{{"--users", "users", "[users.yaml]"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []HTTPListener{{":6667", nil, "trusted"}, {":6666", nil, "pin"}}
	if diff := cmp.Diff(want, cfg.HTTP); diff != "" {
		t.Error(diff)
	}
}

func TestAFileCompletesASipXInstallation(t *testing.T) {
	dir := t.TempDir()
	file := apptest.Write(t, dir, "more.yaml", "realm: mine.test\ncall: {timeout: 20s}\n")
	cfg, err := Load(Source{File: file, ConfDir: "testdata/sipx-4.2"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Realm != "mine.test" || cfg.Domain != "sipx.test" || cfg.Call.Timeout.Seconds() != 20 {
		t.Errorf("got %+v", cfg)
	}
}

func TestABrokenSipXInstallationIsExplained(t *testing.T) {
	dir := t.TempDir()
	check := func(want string) {
		t.Helper()
		_, err := Load(Source{Environ: []string{"SIPXREST_CONF_DIR=" + dir}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want …%s…", err, want)
		}
	}
	check("is " + dir + " the configuration folder of a sipX installation?")
	apptest.Write(t, dir, "domain-config", "SIP_REALM : x\n")
	apptest.Write(t, dir, "sipxrest-config.xml", "<rest-config><https-port>x</https-port></rest-config>")
	check("SIP_DOMAIN_NAME is missing")
	check("<https-port>")
}

func TestAProxyDomainOfItsOwnIsTheOutboundProxy(t *testing.T) {
	dir := t.TempDir()
	config, err := os.ReadFile("testdata/sipx-4.2/sipxrest-config.xml")
	if err != nil {
		t.Fatal(err)
	}
	apptest.Write(t, dir, "sipxrest-config.xml", strings.NewReplacer("<sipx-proxy-domain>sipx.test<", "<sipx-proxy-domain>proxy.test<",
		"NOTICE", "ERR").Replace(string(config)))
	apptest.Write(t, dir, "domain-config", "SIP_DOMAIN_NAME : sipx.test\n")
	apptest.Write(t, dir, "validusers.xml", "<validusers/>")
	cfg, err := Load(Source{ConfDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(cfg.SIP.OutboundProxy, " "); got != "sip:proxy.test" {
		t.Errorf("outbound proxy %q", got)
	}
	if cfg.Log.Level != "error" {
		t.Errorf("log level %q", cfg.Log.Level)
	}
}

func TestUsersOfALaterInstallationAreInItsDatabase(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sipxrest-config.xml", "domain-config"} {
		data, err := os.ReadFile("testdata/sipx-4.6/" + name)
		if err != nil {
			t.Fatal(err)
		}
		apptest.Write(t, dir, name, string(data))
	}
	const url = "mongodb://reader:s3cret@a.sipx.test:27017,b.sipx.test:27017/?readPreference=nearest&" +
		"readPreferenceTags=clusterId:1;readPreferenceTags=shardId:0;readPreferenceTags="
	ini := apptest.Write(t, dir, "mongo-client.ini", "connectionUrl="+strings.Replace(url, ":", `\:`,
		1)+"\nconnectionString=sipxecs/a.sipx.test:27017\nclusterId=1\n")
	cfg, err := Load(Source{ConfDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Users) != 1 || cfg.Users[0] != url || len(cfg.UserFiles()) != 0 {
		t.Errorf("users %q", cfg.Users)
	}
	if got := cfg.UsersFrom(); got != "mongodb://a.sipx.test:27017,b.sipx.test:27017/imdb" {
		t.Errorf("for people: %s", got)
	}
	apptest.Write(t, dir, "mongo-client.ini", "clusterId=1\n")
	if _, err := Load(Source{ConfDir: dir}); err == nil || !strings.Contains(err.Error(), ini+" has no connectionUrl") {
		t.Errorf("error %v", err)
	}
	apptest.Write(t, dir, "mongo-client.ini", "connectionUrl=mongodb://reader:s3/cret@a\n")
	if _, err := Load(Source{ConfDir: dir}); err == nil || strings.Contains(err.Error(), "s3/cret") || !strings.Contains(err.Error(), "%40") {
		t.Errorf("error %v", err)
	}
}

func TestURLsOfUsersAreNoPaths(t *testing.T) {
	dir := t.TempDir()
	file := apptest.Write(t, dir, "sipxrest.yaml", "domain: sipx.test\nusers: [users.yaml, \"mongodb://u:s3cret@db/imdb\"]\n")
	cfg, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.UsersFrom(), dir+"/users.yaml, mongodb://db/imdb"; got != want {
		t.Errorf("users from %s, want %s", got, want)
	}
}
