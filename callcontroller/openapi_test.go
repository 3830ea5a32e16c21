package callcontroller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"sipxrest/docs/docstest"
	"sipxrest/restauth"
	"sipxrest/schema"
	"sipxrest/sipflow"
)

const openAPI = "../docs/openapi.yaml"

// Where the resource is, as docs/openapi.yaml writes it.
const (
	callPath     = callPrefix + "/{callingUser}/{calledUser}"
	redirectPath = redirectPrefix + "/{callingUser}/{calledUser}"
)

func TestEveryRouteIsDescribed(t *testing.T) {
	doc := docstest.Read(t, openAPI)
	described := map[string]bool{}
	for key := range doc.Operations {
		_, path, _ := strings.Cut(key, " ")
		described[path] = true
	}
	b := newBench(t, Config{}, nil)
	names := strings.NewReplacer("{calling}", "{callingUser}", "{called}", "{calledUser}")
	err := b.Handler().(*mux.Router).Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := r.GetPathTemplate()
		if path = names.Replace(path); len(path) > 1 {
			path = strings.TrimSuffix(path, "/")
		}
		if !described[path] {
			t.Errorf("%s is not described", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The parameters of parseParams are those of a POST; others look at fewer.
func TestEveryParameterIsDescribed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "params.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "parseParams" {
			ast.Inspect(f, func(n ast.Node) bool {
				if c, ok := n.(*ast.CaseClause); ok && len(c.List) == 1 {
					name, err := strconv.Unquote(c.List[0].(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					known = append(known, "query "+name)
				}
				return true
			})
		}
	}
	slices.Sort(known)
	doc := docstest.Read(t, openAPI)
	for method, want := range map[string][]string{
		"POST": known, "GET": {"query agent", "query sipMethod"}, "HEAD": {"query agent", "query sipMethod"}, "DELETE": {"query agent"},
	} {
		for _, path := range []string{callPath, redirectPath} {
			var got []string
			for _, p := range doc.Operations[method+" "+path].Parameters {
				if strings.HasPrefix(p, "query ") {
					got = append(got, p)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %s: described are %q, want %q", method, path, got, want)
			}
		}
	}
}

// Each status that is described is one that is answered here, with a body of the
// type described, and none is answered that is not.
func TestEveryAnswerIsDescribed(t *testing.T) {
	doc := docstest.Read(t, openAPI)
	answers := doc.Watch()
	elements := map[string]bool{}
	element := regexp.MustCompile(`<([a-z-]+)`)
	for _, path := range []string{"/", callPath, redirectPath} {
		for _, method := range docstest.Methods {
			b := newBench(t, Config{}, nil)
			ask := func(query, peer, pin string, header ...string) {
				t.Helper()
				called, query, ok := strings.Cut(query, "?")
				if ok {
					query = "?" + query
				}
				target := strings.NewReplacer("{callingUser}", "201", "{calledUser}", cmp.Or(called, "202")).Replace(path) + query
				r := httptest.NewRequest(method, target, nil)
				r.RemoteAddr = peer
				if pin != "" {
					r.SetBasicAuth("201", pin)
				}
				for i := 0; i < len(header); i += 2 {
					r.Header.Set(header[i], header[i+1])
				}
				r.Host = cmp.Or(r.Header.Get("Host"), r.Host)
				w := httptest.NewRecorder()
				b.handler.ServeHTTP(w, r)
				answers.Note(t, method, path, w.Code, w.Header())
				if strings.HasPrefix(w.Header().Get("Content-Type"), "text/xml") {
					for _, m := range element.FindAllStringSubmatch(w.Body.String(), -1) {
						elements[m[1]] = true
					}
				}
			}
			const stranger = "198.51.100.1:1"
			b.do("POST", "/callcontroller/201/202")
			progress(b.last(t), "INVITE", "SIP/2.0 180 Ringing")
			ask("", trustedPeer, "123")
			ask("", trustedPeer, "123", "If-None-Match", "*")
			ask("", stranger, "")
			ask("", stranger, "123", "Origin", "https://evil.example")
			ask("", stranger, "123", "Sec-Fetch-Mode", "navigate", "Host", "evil.example")
			ask("a;b", trustedPeer, "123")
			ask("?timeout=x", trustedPeer, "123")
			ask("?sipMethod=foo", trustedPeer, "123")
			ask("?sipMethod=invite", trustedPeer, "123")
			b.do("POST", "/callcontroller/201/202?sipMethod=invite")
			ask("", trustedPeer, "123")
			ask("?agent=nobody", trustedPeer, "")
			b.refuse = nil
			ask("", trustedPeer, "123")
			for _, err := range []error{
				sipflow.ErrInProgress, sipflow.ErrUnreachable, sipflow.ErrDraining, sipflow.ErrForbidden, context.DeadlineExceeded, errors.New("fault"),
				&sipflow.LimitError{Limit: sipflow.LimitCalls}, &sipflow.LimitError{Limit: sipflow.LimitCallsPerAgent},
			} {
				b.fail = err
				ask("", trustedPeer, "123")
			}
			single := b
			all, _, node := cluster2(t, Config{})
			all.Away = errors.New("no store")
			b = node
			ask("", trustedPeer, "123")
			b = single
			for i := range 12 {
				ask("", stranger, fmt.Sprint(i))
			}
			b.handler = b.gate.Listener(restauth.TrustedOnly, false, b.Handler())
			ask("", stranger, "123")
		}
		answers.Check(t, path, http.StatusRequestEntityTooLarge) // that is the listener's
	}
	for _, m := range element.FindAllStringSubmatch(string(schema.AppendDialogs(nil, make([]schema.Dialog, 1))), -1) {
		elements[m[1]] = true
	}
	for name := range elements {
		if !doc.Names[name] {
			t.Errorf("the element %s is not described", name)
		}
	}
	if len(elements) < 16 {
		t.Errorf("only %d elements were seen", len(elements))
	}
}
