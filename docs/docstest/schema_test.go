package docstest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const smallSchemas = `
openapi: 3.1.0
info: {title: small, version: "1"}
paths:
  /x/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get:
      operationId: readX
      responses: {"200": {$ref: "#/components/responses/X"}}
components:
  responses:
    X:
      description: Here.
      content: {application/json: {schema: {$ref: "#/components/schemas/X"}, examples: {one: {value: {a: text, b: null}}}}}
  schemas:
    X:
      type: object
      required: [a, b]
      properties:
        a: {type: string, enum: [text, other]}
        b: {anyOf: [{$ref: "#/components/schemas/Y"}, {type: "null"}]}
        at: {type: string, format: date-time}
    Y: {type: object, required: [n], properties: {n: {type: integer}}}
    Z: {allOf: [{$ref: "#/components/schemas/X"}], properties: {list: {type: array, items: {$ref: "#/components/schemas/Y"}}}}
`

func readSchemas(t *testing.T, text string) (string, *Schemas) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "small.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, ReadSchemas(t, file)
}

func TestJSONIsHeldAgainstSchemas(t *testing.T) {
	_, s := readSchemas(t, smallSchemas)
	for _, c := range []struct {
		schema, text string
		good         bool
	}{
		{"X", `{"a":"text","b":null}`, true},
		{"X", `{"a":"text","b":{"n":1},"at":"2026-11-30T12:00:00.000Z"}`, true},
		{"X", `{"a":"text"}`, false},
		{"X", `{"a":"text","b":null,"c":1}`, false},
		{"X", `{"a":"text","b":{"n":1,"m":1}}`, false},
		{"X", `{"a":"none","b":null}`, false},
		{"X", `{"a":"text","b":null,"at":"today"}`, false},
		{"X", `{`, false},
		{"Z", `{"a":"text","b":null,"list":[{"n":1}]}`, true},
		{"Z", `{"a":"text","b":null,"list":[{"n":1,"m":2}]}`, false},
		{"Z", `{"a":"text","b":null,"more":1}`, false},
	} {
		if err := s.Validate("small.yaml#/components/schemas/"+c.schema, []byte(c.text)); (err == nil) != c.good {
			t.Errorf("%s %s: %v", c.schema, c.text, err)
		}
	}
	for _, c := range []struct {
		key, media, text string
		status           int
		good             bool
	}{
		{"GET /x/{id}", "application/json", `{"a":"text","b":null}`, 200, true},
		{"GET /x/{id}", "application/json", `{"a":1,"b":null}`, 200, false},
		{"GET /x/{id}", "application/json", `{"a":"text","b":null}`, 201, false},
		{"GET /x/{id}", "text/plain", `{"a":"text","b":null}`, 200, false},
		{"GET /y", "application/json", `{"a":"text","b":null}`, 200, false},
	} {
		if err := s.Body("small.yaml", c.key, c.status, c.media, []byte(c.text)); (err == nil) != c.good {
			t.Errorf("%s %d %s: %v", c.key, c.status, c.text, err)
		}
	}
}

func TestFaultsOfWholeDocumentsAreFound(t *testing.T) {
	for name, change := range map[string][2]string{
		"none":                       {"", ""},
		"no title":                   {"title: small, ", ""},
		"a response that is no name": {`"200": {$ref`, `"2000": {$ref`},
		"a parameter nowhere":        {"in: path, ", "in: body, "},
	} {
		file, _ := readSchemas(t, strings.Replace(smallSchemas, change[0], change[1], 1))
		f := &faults{TB: t}
		Valid(f, file)
		if (f.n == 0) != (name == "none") {
			t.Errorf("%s: %d faults", name, f.n)
		}
	}
	for name, change := range map[string][2]string{
		"none":                         {"", ""},
		"an example that does not fit": {"{a: text, b: null}", "{a: word, b: null}"},
		"a type that is none":          {"type: integer", "type: whole"},
	} {
		file := filepath.Join(t.TempDir(), "small.yaml")
		if err := os.WriteFile(file, []byte(strings.Replace(smallSchemas, change[0], change[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		f := &faults{TB: t}
		n := ReadSchemas(t, file).Examples(f, "small.yaml")
		if (f.n == 0) != (name == "none") || n != 1 {
			t.Errorf("%s: %d faults in %d examples", name, f.n, n)
		}
	}
}

func TestAsyncAPIDocumentsAreChecked(t *testing.T) {
	const text = "asyncapi: 3.0.0\ninfo: {title: small, version: \"1\"}\nchannels: {x: {address: /x}}\n" +
		"operations: {readX: {action: receive, channel: {$ref: \"#/channels/x\"}}}\n"
	for document, good := range map[string]bool{
		text: true,
		strings.Replace(text, "receive", "read", 1): false,
		strings.Replace(text, "address", "path", 1): false,
	} {
		file := filepath.Join(t.TempDir(), "small.yaml")
		if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		f := &faults{TB: t}
		if Valid(f, file); (f.n == 0) != good {
			t.Errorf("%s: %d faults", document, f.n)
		}
	}
}

type (
	structY struct {
		N int `json:"n"`
	}
	structX struct {
		A  string    `json:"a"`
		B  *structY  `json:"b"`
		At time.Time `json:"at,omitzero"`
	}
)

func TestStructsAreHeldAgainstSchemas(t *testing.T) {
	_, s := readSchemas(t, smallSchemas)
	for _, c := range []struct {
		schema string
		typ    reflect.Type
		faults int
		extra  []string
	}{
		{"X", reflect.TypeFor[structX](), 0, nil},
		{"Z", reflect.TypeFor[struct {
			structX
			List []*structY `json:"list,omitempty"`
		}](), 0, nil},
		{"Y", reflect.TypeFor[struct{}](), 1, nil},
		{"Y", reflect.TypeFor[struct {
			N string `json:"n"`
		}](), 1, nil},
		{"Y", reflect.TypeFor[struct {
			N *int `json:"n"`
		}](), 1, nil},
		{"Y", reflect.TypeFor[struct {
			N int `json:"n,omitempty"`
		}](), 1, nil},
		{"Y", reflect.TypeFor[struct {
			N int             `json:"n"`
			M json.RawMessage `json:"m"`
		}](), 1, nil},
		{"X", reflect.TypeFor[structY](), 4, nil},
		{"Y", reflect.TypeFor[structEmpty](), 0, []string{"docstest.structEmpty.n"}},
	} {
		f := &faults{TB: t}
		if s.Struct(f, "small.yaml#/components/schemas/"+c.schema, c.typ, c.extra...); f.n != c.faults {
			t.Errorf("%s and %s: %d faults, want %d", c.schema, c.typ, f.n, c.faults)
		}
	}
	if got := s.Members("small.yaml#/components/schemas/Z"); !slices.Equal(got, []string{"a", "at", "b", "list"}) {
		t.Errorf("%v", got)
	}
}

type structEmpty struct{}

func TestConstantsAreRead(t *testing.T) {
	if got := Constants(t, "../../event", "Kind"); !slices.Equal(got, []string{"click_to_call", "dial_out", "inbound", "websocket"}) {
		t.Errorf("%v", got)
	}
	if _, s := readSchemas(t, smallSchemas); !slices.Equal(s.Enum("small.yaml#/components/schemas/X"), nil) {
		t.Error("an enumeration of none")
	}
}
