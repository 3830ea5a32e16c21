package config

import (
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
)

func TestDispatchFaultsNameThePlace(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	for _, tt := range []struct{ text, want string }{
		{"dispatch: {rules: [{id: a}]}", `sipxrest.yaml:3: rule "a": url: dynamic dispatch rule URL cannot be empty`},
		{"dispatch:\n  rules:\n  - {id: a, url: 'http://x.example'}", `sipxrest.yaml:5: rule "a": url: calls and decisions would go in clear`},
		{"dispatch:\n  rules:\n  - {id: a, colour: red}", `sipxrest.yaml:5: dispatch.rules: rule "a": unknown key "colour"`},
		{"dispatch: {rules-dir: nowhere}", `sipxrest.yaml:3: dispatch.rules-dir: open `},
		{"dispatch: {trunks: [{name: a}]}", `sipxrest.yaml:3: dispatch.trunks: trunk a: sources or username: missing`},
		{"dispatch: {trunks: [{name: a, sources: [192.0.2.1], max-calls: -1}]}",
			`sipxrest.yaml:3: dispatch.trunks: trunk a: max-calls: -1: write how many`},
		{"dispatch: {trunks: [{name: a, sources: [192.0.2.1], max-calls: some}]}", `"some" is not a whole number`},
		{"dispatch: {digest-algorithms: [SHA-1], trunks: [{name: a, sources: [192.0.2.1]}]}",
			`sipxrest.yaml:3: dispatch.digest-algorithms: "SHA-1": write SHA-256, MD5 or both`},
		{"dispatch: {digest-algorithms: [MD5, md5], trunks: [{name: a, sources: [192.0.2.1]}]}",
			`sipxrest.yaml:3: dispatch.digest-algorithms: MD5 is there twice`},
		{"dispatch: {trunks: [{nam: a}]}", `unknown key "nam": did you mean "name"?`},
		{"dispatch: {rules-dir: ., room-target: 'sip:x@{room}'}", `sipxrest.yaml:3: dispatch.room-target: `},
		{"dispatch: {rules: [{id: a, action: transfer, transfer_to: 'sip:a@b', policy: nope}]}", `rule "a": policy: `},
	} {
		_, err := Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+tt.text)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

// dispatchFiles makes the files that the rules of the example name.
func dispatchFiles(t *testing.T, dir string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	server.Close()
	pair := server.TLS.Certificates[0]
	pkcs8, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for name, data := range map[string][]byte{"ca.crt": cert, "hook.crt": cert, "hook.key": key} {
		apptest.Write(t, dir, name, string(data))
	}
	apptest.Write(t, dir, "music.wav", silentWAV)
	for _, folder := range []string{"dispatch.d", "prompts/en"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// silentWAV is a WAV file of two samples, at 8 kHz.
const silentWAV = "RIFF\x28\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00" +
	"\x80\x3e\x00\x00\x02\x00\x10\x00data\x04\x00\x00\x00\x00\x00\x00\x00"
