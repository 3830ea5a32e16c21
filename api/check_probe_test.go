package api

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// What a check says of phones that it asks by OPTIONS: of one that is there, of one
// that is not, and where nobody says anything. It calls nobody.
func TestACheckAsksThePhones(t *testing.T) {
	options := func(code int) siptest.Script {
		return siptest.Script{Answers: map[sip.RequestMethod]int{"OPTIONS": code}}
	}
	var out bytes.Buffer
	for _, c := range []struct {
		name string
		text string
		s    setup
	}{
		{"both are there", `{"calling":"201","called":"202","probe":true}`, setup{}},
		{"the called phone is not registered", `{"calling":"201","called":"202","probe":true}`, setup{without: []string{"202"}}},
		{"the called phone refuses OPTIONS", `{"calling":"201","called":"202","probe":true}`,
			setup{phones: map[string]siptest.Script{"202": options(405)}}},
		{"the calling phone says 480", `{"calling":"201","called":"202","probe":true}`,
			setup{phones: map[string]siptest.Script{"201": options(480)}}},
		{"the called phone is silent", `{"calling":"201","called":"202","probe":true}`,
			setup{phones: map[string]siptest.Script{"202": options(-1)}}},
		{"both are silent", `{"calling":"201","called":"202","probe":true}`,
			setup{phones: map[string]siptest.Script{"201": options(-1), "202": options(-1)}}},
		{"a user whom the proxy does not know", `{"calling":"201","called":"210","probe":true}`, setup{}},
		{"no server", `{"calling":"201","called":"202","probe":true}`,
			setup{sip: func(c *sipflow.Config) { c.OutboundProxies = []string{"sip:10.0.0.8:5060"} }}},
		{"not asked", usual, setup{}},
	} {
		withCalls(t, c.s, func(t *testing.T, cr *callRig) {
			w := cr.do(200, "POST", "/v1/check", c.text)
			var r checkResult
			if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			out.WriteString("== " + c.name + ": " + r.Verdict + "\n")
			for _, step := range r.Steps {
				out.WriteString(inJSON(t, step) + "\n")
			}
			for user, phone := range cr.phones {
				if n := len(phone.Requests("INVITE")); n > 0 {
					t.Errorf("%s: %s got %d INVITEs", c.name, user, n)
				}
			}
		})
	}
	golden(t, "check-probe.golden", out.Bytes())
}
