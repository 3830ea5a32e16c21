//go:build interop

package interop

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// An operator looks at the rules of calls that come in, tries what becomes of some, and
// looks how the service fares. A user sees nothing of it.
func TestConsoleShowsInboundRulesAndHealth(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"dispatch_action": "transfer", "transfer_to": "sip:202@`+lab.Domain+`"}`)
	}))
	t.Cleanup(hook.Close)
	sum := sha256.Sum256([]byte(consoleKey))
	s := l.Service(fmt.Sprintf(`dispatch:
  trunks: [{name: carrier, sources: [192.0.2.0/24], max-calls: 30}]
  rules:
  - {id: crm, name: The CRM, url: "%s/calls", allow_http: true, allow_private: [127.0.0.1], numbers: ["5000"], trunks: [carrier],
     events: [ended],
     fallback: {dispatch_action: hangup, reject_status_code: 480}}
  - {id: bob, numbers: ["200"], dispatch_action: transfer, transfer_to: "sip:201@%s"}`, hook.URL, lab.Domain),
		fmt.Sprintf(`api: {keys: [{name: console, sha256: %s, scopes: [admin], agents: ["*"]}]}`, hex.EncodeToString(sum[:])))
	p := openConsole(t, l, s)

	l.Run(t, "a user sees neither", func(t *testing.T) {
		p.signIn("201", lab.Password)
		p.has("#menu a[data-view=health]")
		if got := p.Eval(`document.querySelector("#menu a[data-view=inbound]") === null`); got != "true" {
			t.Error("the view is in the menu")
		}
		p.Eval(`location.hash = "#/inbound"`)
		p.has("#dial") // the first that he may see
		p.Eval(`location.hash = "#/health"`)
		p.has("#account")
		if got := p.Eval(`document.querySelector("#service") === null`); got != "true" {
			t.Error("he sees how the service fares")
		}
		p.click("#signout")
	})

	signInByKey(p.Tab, consoleKey)
	l.Run(t, "rules", func(t *testing.T) {
		p.Eval(`location.hash = "#/inbound"`)
		p.says("[data-rule=crm]", "The CRM")
		p.says("[data-rule=crm]", hook.URL+"/calls")
		p.says("[data-rule=crm]", "Refuses: 480")
		p.says("[data-rule=bob]", "Calls sip:201@"+lab.Domain)
		p.says("#trunks tbody", "192.0.2.0/24")
	})
	try := func(t *testing.T, from, to, source, result string, ask bool) {
		t.Helper()
		// As who has no mouse: from field to field by Tab, Space ticks, Enter sends.
		p.Eval(`(document.querySelector("#try").reset(), document.querySelector("#tried").replaceChildren(),
			document.querySelector("#try input[name=from]").focus())`)
		p.Type(from + "\t" + to + "\t\t" + source + "\t")
		if ask {
			p.Type(" ")
		}
		p.Type("\t\r")
		p.has(fmt.Sprintf("#tried [data-result=%s]", result))
	}
	l.Run(t, "trials", func(t *testing.T) {
		try(t, "+4930123", "200", "192.0.2.7", "decided", false)
		p.says("#tried", "sip:201@"+lab.Domain+" is called")
		try(t, "+4930123", "5000", "192.0.2.7", "webhook_not_asked", false)
		p.says("#tried pre", "POST "+hook.URL)
		try(t, "+4930123", "5000", "192.0.2.7", "decided", true)
		p.says("#tried", "sip:202@"+lab.Domain+" is called")
		p.Eval(`document.querySelectorAll("#tried details").forEach(e => e.open = true)`)
		p.look("inbound-tried")
		try(t, "+4930123", "999", "203.0.113.9", "no_rule", false)
		p.says("#tried", "would have to prove")
		p.Eval(`document.querySelector("#try input[name=source]").value = "nowhere"`)
		p.Eval(`document.querySelector("#try").requestSubmit()`)
		p.says("#tried .failed", "it is no IP address")
		p.look("inbound")
	})
	l.Run(t, "health", func(t *testing.T) {
		p.Eval(`location.hash = "#/health"`)
		p.says("#service-status", "Takes calls")
		l.Until("the proxy was asked", func() bool {
			p.click("#service .head button")
			return strings.Contains(p.Eval(`document.querySelector("#service-state").textContent`), l.Proxy.Addr)
		})
		p.says("#service-state", "Self-signed")
		p.says("#service-state", "limits.calls")
		p.look("service")
	})
	l.Run(t, "in German", func(t *testing.T) {
		p.enter("#language", "de")
		p.says("h1", "Zustand")
		p.says("#service-state", "Selbst signiert")
		p.Eval(`location.hash = "#/inbound"`)
		p.says("h1", "Ankommend")
		p.says("[data-rule=crm]", "Lehnt ab: 480")
		p.look("inbound-de")
	})
}
