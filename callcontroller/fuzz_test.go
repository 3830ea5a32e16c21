package callcontroller

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sipxrest/order"
	"sipxrest/restauth"
)

// FuzzParams: a query says what net/url reads in it, and the order that comes
// of it is within its bounds.
func FuzzParams(f *testing.F) {
	for _, s := range []string{"agent=%20+49&target=tel:+49", "agent=a&sipMethod=INVITE&timeout=5", "timeout=%30&timeout=1",
		"action=transfer&target=sip:x@y", "subject=a+b%0d&confpin=%C3%BC", "a=;&=&&%zz=1&agent=%zz", "resultCacheTime=86401&timeout=-1"} {
		f.Add(s)
	}
	c := newBench(f, Config{}, nil).Controller
	f.Fuzz(func(t *testing.T, query string) {
		p := parseParams(query)
		if q, err := url.ParseQuery(query); err == nil {
			for name, got := range map[string]param{"agent": p.agent, "sipMethod": p.sipMethod, "action": p.action, "target": p.target,
				"timeout":         p.timeout,
				"resultCacheTime": p.resultCacheTime, "subject": p.subject, "isForwardingAllowed": p.isForwardingAllowed, "confpin": p.confpin} {
				if v, ok := got.value(); !ok || v != q.Get(name) || got.given != q.Has(name) {
					t.Fatalf("%q: %s is %q, want %q", query, name, v, q.Get(name))
				}
				bare := func(s string) string { return strings.NewReplacer(" ", "", "+", "", "\u00a0", "").Replace(s) }
				if user, ok := got.user(); !ok || user != restauth.TrimBlanks(user) || bare(user) != bare(restauth.TrimBlanks(q.Get(name))) {
					t.Fatalf("%q: %s is the user %q", query, name, user)
				}
			}
		}
		o, refused := c.parseOrder(&p)
		if refused != nil {
			if refused.status != 400 && refused.status != 406 || len(refused.text) > 2*order.MaxUser {
				t.Fatalf("%q: %+v", query, refused)
			}
			return
		}
		if o.timeout < 0 || o.timeout > maxTimeout*time.Second || o.keep < 0 || o.keep > maxResultCacheTime*time.Second {
			t.Fatalf("%q: %+v", query, o)
		}
		for _, s := range []string{o.subject, o.confPIN, o.target.User, o.target.Host} {
			if strings.ContainsAny(s, "\r\n\x00") || !utf8.ValidString(s) {
				t.Fatalf("%q: %q goes on the wire", query, s)
			}
		}
	})
}

// FuzzIfNoneMatch: a tag is found where it is listed.
func FuzzIfNoneMatch(f *testing.F) {
	for _, s := range []string{`"a"`, `W/"a", "b"`, "*", `,,"`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		const tag = `"boot-1-2"`
		if matches([]string{field}, tag) != (matches([]string{field}, "another") || strings.Contains(field, tag)) &&
			!strings.Contains(field, tag) {
			t.Fatalf("%q has %s", field, tag)
		}
		if !matches([]string{field + ", W/" + tag}, tag) {
			t.Fatalf("%s is not found after %q", tag, field)
		}
	})
}
