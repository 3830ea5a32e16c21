package phone

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sipxrest/docs/docstest"
)

// described returns the operation of a request, by the path as
// docs/openapi.yaml has it; nil for what is no route.
func described(doc *docstest.Document, method, path string) *docstest.Operation {
	r, _ := find(path)
	if r == nil || r.methods[method] == nil && method != http.MethodHead {
		return nil
	}
	return doc.Operations[method+" "+template(r)]
}

// template is the path of a route with the names that the document gives.
func template(r *route) string {
	path := Prefix + r.path
	path = strings.Replace(path, "to/*", "to/{userID}", 1)
	path = strings.Replace(path, "allnames/**", "allnames/{search}", 1)
	path = strings.Replace(path, "find/*", "find/{username}", 1)
	path = strings.Replace(path, "users/*", "users/{userID}", 1)
	return strings.Replace(path, "*", "{callID}", 1)
}

func TestEveryRouteIsDescribed(t *testing.T) {
	doc := docstest.Read(t, "../docs/openapi.yaml")
	routed := map[string]bool{}
	for i := range routes {
		r := &routes[i]
		all := slices.Collect(maps.Keys(r.methods))
		if r.methods["GET"] != nil && !r.socket {
			all = append(all, "HEAD")
		}
		for _, method := range all {
			key := method + " " + template(r)
			routed[key] = true
			o := doc.Operations[key]
			if o == nil {
				t.Errorf("%s is not described", key)
				continue
			}
			want := "phoneToken"
			if r.login {
				want = "phoneBasic"
			}
			last := len(o.Security) - 1
			if last < 0 || o.Security[last][want] == nil || r.open != (last == 1) || r.open && len(o.Security[0]) != 0 {
				t.Errorf("%s: security is %v", key, o.Security)
			}
			for status, needs := range map[int]bool{101: r.socket, 426: r.socket, 451: r.calls, 401: !r.open, 403: true, 429: true} {
				if (o.Responses[status] != nil) != needs && status != 101 {
					t.Errorf("%s: %d is described: %v", key, status, !needs)
				}
			}
		}
	}
	for key := range doc.Operations {
		if strings.Contains(key, " "+Prefix) && !routed[key] {
			t.Errorf("%s is described, and there is no such route", key)
		}
	}
	for _, name := range []string{"userID", "accessLevel", "token", "username", "displayName", "userImage", "preferredPronoun", "ipV4Addr",
		"ipV6Addr",
		"type", "info", "contentID", "caller", "callerAddress", "incomingPhoneCall", "phoneCallAnswered", "phoneCallEnded", "phonecallStartTime",
		"error", "status", "reason"} {
		if !doc.Names[name] {
			t.Errorf("%s is not described", name)
		}
	}
}
