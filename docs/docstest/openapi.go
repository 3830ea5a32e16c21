// Package docstest compares docs/openapi.yaml with the responses of handlers,
// so that the description of the HTTP resources stays true.
package docstest

import (
	"fmt"
	"maps"
	"mime"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// Methods are those that an OpenAPI document may list, in upper case.
var Methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"}

// Operation is one method of one path.
type Operation struct {
	ID         string
	Parameters []string         // "in name", such as "query agent"; sorted
	Responses  map[int][]string // status: media types, none for no body
	Security   []map[string]any // what is asked for; an empty one: nothing
}

// Document is an OpenAPI document: its operations by "METHOD /path", those of
// webhooks by "METHOD name".
type Document struct {
	Operations map[string]*Operation
	// Names are all properties of the schemas, and the schemas themselves.
	Names map[string]bool

	root any
}

// Read reads a document and checks what every reader of it relies upon: that
// references lead somewhere, operations have names of their own, responses
// descriptions, and a path's parameters are described.
func Read(t testing.TB, file string) *Document {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &Document{Operations: map[string]*Operation{}, Names: map[string]bool{}}
	if err := yaml.Unmarshal(text, &d.root); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if v, _ := at(d.root, "openapi").(string); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("%s: openapi is %q", file, v)
	}
	d.walk(t, d.root)
	for name, schema := range object(at(d.root, "components", "schemas")) {
		d.Names[name] = true
		d.names(schema)
	}
	ids := map[string]string{}
	items := map[string]any{}
	maps.Copy(items, object(at(d.root, "paths")))
	maps.Copy(items, object(at(d.root, "webhooks"))) // their names begin with no slash
	for path, item := range items {
		for _, method := range Methods {
			op := object(at(item, strings.ToLower(method)))
			if op == nil {
				continue
			}
			key := method + " " + path
			d.Operations[key] = d.operation(t, key, object(item), op)
			id := d.Operations[key].ID
			if other := ids[id]; id == "" || other != "" {
				t.Errorf("%s: operationId %q is missing, or that of %s too", key, id, other)
			}
			ids[id] = key
		}
	}
	return d
}

var inPath = regexp.MustCompile(`\{(\w+)\}`)

func (d *Document) operation(t testing.TB, key string, item, op map[string]any) *Operation {
	o := &Operation{Responses: map[int][]string{}}
	o.ID, _ = op["operationId"].(string)
	for _, list := range []any{item["parameters"], op["parameters"]} {
		params, _ := list.([]any)
		for _, p := range params {
			p = d.resolve(p)
			o.Parameters = append(o.Parameters, fmt.Sprint(at(p, "in"), " ", at(p, "name")))
		}
	}
	slices.Sort(o.Parameters)
	for _, m := range inPath.FindAllStringSubmatch(key, -1) {
		if !slices.Contains(o.Parameters, "path "+m[1]) {
			t.Errorf("%s: the parameter %s of the path is not described", key, m[1])
		}
	}
	for status, response := range object(op["responses"]) {
		var code int
		if _, err := fmt.Sscan(status, &code); err != nil {
			t.Errorf("%s: response %q is no status", key, status)
		}
		response = d.resolve(response)
		if text, _ := at(response, "description").(string); text == "" {
			t.Errorf("%s: response %s has no description", key, status)
		}
		o.Responses[code] = slices.Sorted(maps.Keys(object(at(response, "content"))))
	}
	if len(o.Responses) == 0 {
		t.Errorf("%s has no responses", key)
	}
	security, ok := op["security"].([]any)
	if !ok {
		security, _ = at(d.root, "security").([]any)
	}
	for _, s := range security {
		o.Security = append(o.Security, object(s))
		for name := range object(s) {
			if at(d.root, "components", "securitySchemes", name) == nil {
				t.Errorf("%s: there is no security scheme %q", key, name)
			}
		}
	}
	return o
}

// walk checks every reference below v.
func (d *Document) walk(t testing.TB, v any) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok && d.resolve(v) == nil {
			t.Errorf("$ref %s leads nowhere", ref)
		}
		for _, below := range v {
			d.walk(t, below)
		}
	case []any:
		for _, below := range v {
			d.walk(t, below)
		}
	}
}

// names notes the properties of a schema, at any depth.
func (d *Document) names(schema any) {
	switch v := schema.(type) {
	case map[string]any:
		for name := range object(v["properties"]) {
			d.Names[name] = true
		}
		for _, below := range v {
			d.names(below)
		}
	case []any:
		for _, below := range v {
			d.names(below)
		}
	}
}

// resolve follows a reference; nil when it leads nowhere.
func (d *Document) resolve(v any) any {
	for range 8 { // a loop leads nowhere
		ref, ok := at(v, "$ref").(string)
		if !ok {
			return v
		}
		path, ok := strings.CutPrefix(ref, "#/")
		if !ok {
			return nil
		}
		v = at(d.root, strings.Split(path, "/")...)
	}
	return nil
}

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }

func at(v any, keys ...string) any {
	for _, k := range keys {
		v = object(v)[k]
	}
	return v
}

// Answers are the responses that handlers were seen to send.
type Answers struct {
	doc  *Document
	seen map[string]map[int]bool
}

// Watch begins with no responses.
func (d *Document) Watch() *Answers { return &Answers{d, map[string]map[int]bool{}} }

// Note compares a response to method, for a path as the document writes it,
// with what the document says. A method that is not described may be refused by
// any status.
func (a *Answers) Note(t testing.TB, method, path string, status int, h http.Header) {
	t.Helper()
	key := method + " " + path
	op := a.doc.Operations[key]
	if op == nil {
		if status < 400 {
			t.Errorf("%s is answered %d, and not described", key, status)
		}
		return
	}
	types, ok := op.Responses[status]
	if !ok {
		t.Errorf("%s is answered %d, which is not described", key, status)
		return
	}
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	if media == "" && len(types) > 0 || media != "" && !slices.Contains(types, media) {
		t.Errorf("%s is answered %d with %q, described are %q", key, status, media, types)
	}
	if a.seen[key] == nil {
		a.seen[key] = map[int]bool{}
	}
	a.seen[key][status] = true
}

// Check finds the statuses of a path's operations that are described and were
// never seen, but those that another test sees.
func (a *Answers) Check(t testing.TB, path string, elsewhere ...int) {
	t.Helper()
	found := false
	for _, method := range Methods {
		key := method + " " + path
		op := a.doc.Operations[key]
		if op == nil {
			continue
		}
		found = true
		for status := range op.Responses {
			if !a.seen[key][status] && !slices.Contains(elsewhere, status) {
				t.Errorf("%s: %d is described, but no test sees it", key, status)
			}
		}
	}
	if !found {
		t.Errorf("%s is not described", path)
	}
}
