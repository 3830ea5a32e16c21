package docstest

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the schemas of OpenAPI and AsyncAPI
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// testdata/SOURCES.txt says where both are from.
var (
	//go:embed testdata/openapi-3.1.json
	openAPISchema []byte
	//go:embed testdata/asyncapi-3.0.json.gz
	asyncAPISchema []byte
)

// base is where documents seem to be: they refer to each other by their names.
const base = "https://documents.test/"

// Schemas are documents whose schemas JSON is held against. A member that no schema
// has is wrong there, though clients must ignore it. Its methods may be called from
// any goroutine.
type Schemas struct {
	roots map[string]any // by name, as they were read

	mu       sync.Mutex
	compiler *jsonschema.Compiler          // guarded by mu
	made     map[string]*jsonschema.Schema // guarded by mu; by reference
}

// ReadSchemas reads YAML documents. A schema is named "openapi.yaml#/components/schemas/Call".
func ReadSchemas(t testing.TB, files ...string) *Schemas {
	t.Helper()
	s := &Schemas{roots: map[string]any{}, compiler: newCompiler(), made: map[string]*jsonschema.Schema{}}
	for _, file := range files {
		s.roots[filepath.Base(file)] = readYAML(t, file)
	}
	for name := range s.roots {
		if err := s.compiler.AddResource(base+name, s.strict(name, s.roots[name])); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func newCompiler() *jsonschema.Compiler {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	return c
}

// readYAML reads a document as JSON has it.
func readYAML(t testing.TB, file string) any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var root any
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	data, err := json.Marshal(root)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if root, err = jsonschema.UnmarshalJSON(bytes.NewReader(data)); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return root
}

// Valid checks a document against the schema of its own kind: OpenAPI 3.1 or AsyncAPI 3.0.
func Valid(t testing.TB, file string) {
	t.Helper()
	root := readYAML(t, file)
	schema := openAPISchema
	if at(root, "asyncapi") != nil {
		in, err := gzip.NewReader(bytes.NewReader(asyncAPISchema))
		if err != nil {
			t.Fatal(err)
		}
		if schema, err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
	meta, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := newCompiler()
	if err := c.AddResource(base+"schema", meta); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(base + "schema")
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(root); err != nil {
		t.Errorf("%s: %v", file, err)
	}
}

// strict is v with objects closed whose members are known: those of lists and of
// members. What is joined by allOf and its like is closed as a whole.
func (s *Schemas) strict(doc string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, below := range v {
			switch key {
			case "allOf": // a part does not know the members of the others
				out[key] = below
			case "items":
				out[key] = s.closed(doc, below)
			case "properties":
				members := map[string]any{}
				for name, member := range object(below) {
					members[name] = s.closed(doc, member)
				}
				out[key] = members
			default:
				out[key] = s.strict(doc, below)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = s.strict(doc, v[i])
		}
		return out
	}
	return v
}

// closed is a schema that takes no members but those it names, if it names any.
func (s *Schemas) closed(doc string, schema any) any {
	strict := s.strict(doc, schema)
	if m, ok := strict.(map[string]any); ok && m["additionalProperties"] == nil && s.names(doc, schema, 0) {
		m["unevaluatedProperties"] = false
	}
	return strict
}

// names reports whether a schema says which members there are.
func (s *Schemas) names(doc string, schema any, depth int) bool {
	doc, schema = s.follow(doc, schema)
	if depth > 8 || schema == nil {
		return false
	}
	if object(schema)["properties"] != nil {
		return true
	}
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := object(schema)[key].([]any)
		for _, each := range list {
			if s.names(doc, each, depth+1) {
				return true
			}
		}
	}
	return false
}

// follow follows references, also to other documents.
func (s *Schemas) follow(doc string, v any) (string, any) {
	for range 16 {
		ref, ok := object(v)["$ref"].(string)
		if !ok {
			return doc, v
		}
		file, _, _ := strings.Cut(ref, "#")
		if file != "" {
			doc = strings.TrimPrefix(file, "./")
		}
		v = s.lookup(doc, ref)
	}
	return doc, nil
}

// lookup is what a reference names in a document; nil for nothing.
func (s *Schemas) lookup(doc, ref string) any {
	_, pointer, _ := strings.Cut(ref, "#")
	if decoded, err := url.PathUnescape(pointer); err == nil {
		pointer = decoded
	}
	v := s.roots[doc]
	for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if list, ok := v.([]any); ok {
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(list) {
				return nil
			}
			v = list[i]
			continue
		}
		v = object(v)[step]
	}
	return v
}

// Validate holds JSON against a schema.
func (s *Schemas) Validate(ref string, data []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	s.mu.Lock()
	schema := s.made[ref]
	if schema == nil {
		name := base + "check/" + strconv.Itoa(len(s.made))
		closed := map[string]any{"$ref": base + ref}
		doc, _, _ := strings.Cut(ref, "#")
		if to := s.lookup(doc, ref); object(to)["additionalProperties"] == nil && s.names(doc, to, 0) {
			closed["unevaluatedProperties"] = false
		}
		if err = s.compiler.AddResource(name, closed); err == nil {
			schema, err = s.compiler.Compile(name)
		}
		if err == nil {
			s.made[ref] = schema
		}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// Body holds the body of a response against what the operation of "METHOD /path" says
// of that status.
func (s *Schemas) Body(doc, key string, status int, media string, body []byte) error {
	method, path, _ := strings.Cut(key, " ")
	ref := pointer(doc, "paths", path, strings.ToLower(method), "responses", strconv.Itoa(status))
	for {
		to, ok := object(s.lookup(doc, ref))["$ref"].(string)
		if !ok {
			break
		}
		ref = doc + to
	}
	ref += strings.TrimPrefix(pointer("", "content", media, "schema"), "#")
	if s.lookup(doc, ref) == nil {
		return fmt.Errorf("%s is answered %d with %s, which is not described", key, status, media)
	}
	return s.Validate(ref, body)
}

// pointer is a reference to a place in a document.
func pointer(doc string, steps ...string) string {
	for _, step := range steps {
		if !strings.Contains(doc, "#") {
			doc += "#"
		}
		doc += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	return doc
}

// Examples holds every example of a document against the schema beside it, and
// compiles every schema that has a name. It returns how many examples there are.
func (s *Schemas) Examples(t testing.TB, doc string) (n int) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(object(at(s.roots[doc], "components", "schemas")))) {
		ref := pointer(doc, "components", "schemas", name)
		if err := s.Validate(ref, []byte("null")); err != nil && !isInvalid(err) {
			t.Errorf("schema %s: %v", name, err)
		}
		list, _ := at(s.lookup(doc, ref), "examples").([]any)
		for i, example := range list {
			s.example(t, ref, fmt.Sprintf("%s, example %d", name, i), example)
			n++
		}
	}
	return n + s.examples(t, doc, s.roots[doc], doc+"#")
}

func isInvalid(err error) bool {
	_, ok := err.(*jsonschema.ValidationError)
	return ok
}

// examples looks for objects that have a schema and examples of it.
func (s *Schemas) examples(t testing.TB, doc string, v any, ref string) (n int) {
	switch v := v.(type) {
	case map[string]any:
		if v["schema"] != nil {
			if one := v["example"]; one != nil {
				s.example(t, ref+"/schema", ref, one)
				n++
			}
			for name, each := range object(v["examples"]) {
				s.example(t, ref+"/schema", ref+" "+name, at(each, "value"))
				n++
			}
		}
		for key, below := range v {
			n += s.examples(t, doc, below, pointer(ref, key))
		}
	case []any:
		for i := range v {
			n += s.examples(t, doc, v[i], pointer(ref, strconv.Itoa(i)))
		}
	}
	return n
}

func (s *Schemas) example(t testing.TB, ref, name string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = s.Validate(ref, data)
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}
