package dialout

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sipxrest/restauth"
)

// Whatever a client sends gets a response in our own JSON, and what is placed
// is a number, a caller and a target that SIP can hold.
func FuzzOrder(f *testing.F) {
	for _, text := range []string{
		callJSON, `{"type":"dialout","dialout":{"number":"030 55500200"}}`, `{"type":"dialout","dialout":{"number":"+49 (0) 30/555-002.00"}}`,
		`{"type":"dialout","dialout":{"number":"+493055500200","options":{"target":"sip:a@b.test:5060;transport=tcp","caller":"+4930"}}}`,
		`{"type":"dialout","dialout":{"number":"+493055500200","options":{"target":"conference","anonymous":true}}}`,
		`{"type":"dialout","dialout":{"number":"+493055500200","options":{"target":"sip:a%0d%0ab@c"}}}`, `{"type":"dialout","dialout":null}`,
		`{"type":"dialout","dialout":{"number":"+1\r\n2","options":{"caller":"\u0000"}}}`, `[`, `null`, ``,
	} {
		f.Add([]byte(text))
	}
	agent := &restauth.User{}
	f.Fuzz(func(t *testing.T, data []byte) {
		st := newStage(t, func(c *Config) { c.Country = "DE" })
		r := httptest.NewRequest(http.MethodPost, Prefix, strings.NewReader(string(data)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		c := st.newCall(FromREST, "")
		defer c.stop()
		if why := st.begin(w, r, c, agent); why != nil {
			sendRefusal(w, why)
			var e envelope
			if json.Unmarshal(w.Body.Bytes(), &e) != nil || e.Dialout.Error == nil || e.Dialout.Error.Code == "" || e.Dialout.Error.Message == "" ||
				w.Code < 400 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if len(st.placed) > 0 || st.active != 0 {
				t.Error("refused, and called all the same")
			}
			return
		}
		l := st.placed[0]
		l.ends(phone, nil)
		st.running.Wait()
		if !e164.MatchString(l.number) || l.caller != "" && !callerPattern.MatchString(l.caller) || l.caller != "" && l.anonymous {
			t.Errorf("%+v", l.placement)
		}
		if !strings.HasPrefix(l.target, "sip") || !sipURI.MatchString(l.target) || strings.ContainsFunc(l.target, func(r rune) bool {
			return r <= ' ' || r > '~' || r == '<' || r == '>' || r == '"'
		}) {
			t.Errorf("target %q", l.target)
		}
	})
}
