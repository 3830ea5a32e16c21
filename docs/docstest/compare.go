package docstest

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Struct compares a struct with a schema: the names of the members in JSON, which of
// them may be missing, whether they may be null, and of which kind they are; those of
// structs below it, too. extra are members that a MarshalJSON adds: "event.Change.state".
func (s *Schemas) Struct(t testing.TB, ref string, typ reflect.Type, extra ...string) {
	t.Helper()
	doc, _, _ := strings.Cut(ref, "#")
	c := comparison{TB: t, s: s, seen: map[reflect.Type]bool{}, extra: extra}
	c.compare(place{doc, map[string]any{"$ref": ref}}, typ, typ.String())
}

// place is a schema, and the document in which its references begin.
type place struct {
	doc    string
	schema any
}

// view is what a schema says, its parts put together.
type view struct {
	types    []string
	members  map[string]place
	required []string
	items    *place
	format   string
	any      bool // it says nothing
}

// view puts a schema's parts together. That it may be null is one of its types.
func (s *Schemas) view(doc string, schema any) view {
	doc, schema = s.follow(doc, schema)
	m := object(schema)
	v := view{members: map[string]place{}}
	if m["items"] != nil {
		v.items = &place{doc, m["items"]}
	}
	v.format, _ = m["format"].(string)
	switch kind := m["type"].(type) {
	case string:
		v.types = []string{kind}
	case []any:
		v.types = texts(kind)
	}
	for name, member := range object(m["properties"]) {
		v.members[name] = place{doc, member}
	}
	required, _ := m["required"].([]any)
	v.required = texts(required)
	for _, key := range []string{"allOf", "anyOf"} {
		list, _ := m[key].([]any)
		for _, part := range list {
			p := s.view(doc, part)
			maps.Copy(v.members, p.members)
			v.types = append(v.types, p.types...)
			v.required = append(v.required, p.required...)
			if p.items != nil {
				v.items = p.items
			}
			if p.format != "" {
				v.format = p.format
			}
		}
	}
	slices.Sort(v.types)
	v.types = slices.Compact(v.types)
	v.any = len(v.types) == 0
	return v
}

func texts(list []any) (all []string) {
	for _, each := range list {
		if text, ok := each.(string); ok {
			all = append(all, text)
		}
	}
	return all
}

var (
	marshaler = reflect.TypeFor[json.Marshaler]()
	rawJSON   = reflect.TypeFor[json.RawMessage]()
)

// comparison is one call of Struct.
type comparison struct {
	testing.TB
	s     *Schemas
	seen  map[reflect.Type]bool
	extra []string
}

// compare compares a type of any kind with a schema. name says where it is.
func (c *comparison) compare(at place, typ reflect.Type, name string) {
	c.Helper()
	v := c.s.view(at.doc, at.schema)
	null := false
	if typ.Kind() == reflect.Pointer {
		typ, null = typ.Elem(), true
	}
	if v.any || typ == rawJSON {
		return // any JSON
	}
	want := ""
	switch typ.Kind() {
	case reflect.String:
		want = "string"
	case reflect.Bool:
		want = "boolean"
	case reflect.Int, reflect.Int64:
		want = "integer"
	case reflect.Slice:
		want = "array"
	case reflect.Map:
		want = "object"
	case reflect.Struct:
		want = "object"
		if reflect.PointerTo(typ).Implements(marshaler) && v.format == "date-time" {
			want, null = "string", null || slices.Contains(v.types, "null")
		}
	default:
		c.Errorf("%s: a %s is not looked at", name, typ)
		return
	}
	kinds := slices.DeleteFunc(slices.Clone(v.types), func(kind string) bool { return kind == "null" })
	if !slices.Equal(kinds, []string{want}) {
		c.Errorf("%s is %s, described as %s", name, want, kinds)
	}
	if null != slices.Contains(v.types, "null") {
		c.Errorf("%s: whether it may be null is %t, described as %t", name, null, !null)
	}
	switch {
	case want == "array" && v.items != nil:
		item := typ.Elem()
		if item.Kind() == reflect.Pointer {
			item = item.Elem() // lists have no null
		}
		c.compare(*v.items, item, name+"[]")
	case want == "object" && typ.Kind() == reflect.Struct && !c.seen[typ]:
		c.seen[typ] = true
		c.members(&v, typ, name)
	}
}

// members compares those of a struct with those of a schema.
func (c *comparison) members(v *view, typ reflect.Type, name string) {
	c.Helper()
	known := map[string]bool{}
	for _, f := range fieldsOf(typ) {
		known[f.name] = true
		member, ok := v.members[f.name]
		if !ok {
			c.Errorf("%s.%s is not described", name, f.name)
			continue
		}
		if required := slices.Contains(v.required, f.name); required == f.optional {
			c.Errorf("%s.%s: whether it may be missing is %t, described as %t", name, f.name, f.optional, !required)
		}
		kind := f.typ
		if f.optional && kind.Kind() == reflect.Pointer {
			kind = kind.Elem() // nil is missing, not null
		}
		c.compare(member, kind, name+"."+f.name)
	}
	for member := range v.members {
		if !known[member] && !slices.Contains(c.extra, typ.String()+"."+member) {
			c.Errorf("%s.%s is described, and not there", name, member)
		}
	}
}

// field is a member of a struct in JSON.
type field struct {
	name     string
	typ      reflect.Type
	optional bool
}

// fieldsOf are the members of a struct, those of embedded ones among them.
func fieldsOf(typ reflect.Type) (list []field) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind := f.Type
		if kind.Kind() == reflect.Pointer && f.Anonymous {
			kind = kind.Elem()
		}
		if f.Anonymous && name == "" && kind.Kind() == reflect.Struct {
			list = append(list, fieldsOf(kind)...)
			continue
		}
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		list = append(list, field{name, f.Type, strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")})
	}
	return list
}

// Enum are the words of a schema.
func (s *Schemas) Enum(ref string) []string {
	doc, _, _ := strings.Cut(ref, "#")
	_, schema := s.follow(doc, s.lookup(doc, ref))
	list, _ := object(schema)["enum"].([]any)
	words := texts(list)
	slices.Sort(words)
	return words
}

// Members are the names of a schema's properties, sorted.
func (s *Schemas) Members(ref string) []string {
	doc, _, _ := strings.Cut(ref, "#")
	v := s.view(doc, s.lookup(doc, ref))
	return slices.Sorted(maps.Keys(v.members))
}

// At is what a document has at a place, its references followed; nil for nothing.
func (s *Schemas) At(doc string, steps ...string) any {
	v := s.roots[doc]
	for _, step := range steps {
		_, v = s.follow(doc, object(v)[step])
	}
	return v
}

// Constants are the values of a package's constants of a type of strings, as its source
// has them, sorted.
func Constants(t testing.TB, dir, typ string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || files == nil {
		t.Fatalf("%s: %v, %d files", dir, err, len(files))
	}
	var values []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range tree.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				values = append(values, constantsOf(spec.(*ast.ValueSpec), typ)...)
			}
		}
	}
	slices.Sort(values)
	return values
}

func constantsOf(spec *ast.ValueSpec, typ string) (values []string) {
	if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != typ {
		return nil
	}
	for _, value := range spec.Values {
		if text, ok := value.(*ast.BasicLit); ok && text.Kind == token.STRING {
			if plain, err := strconv.Unquote(text.Value); err == nil {
				values = append(values, plain)
			}
		}
	}
	return values
}
