package docstest

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const small = `
openapi: 3.1.0
paths:
  /x/{id}:
    parameters: [{name: id, in: path}]
    get:
      operationId: readX
      parameters: [{$ref: "#/components/parameters/agent"}]
      responses: {"200": {description: Here it is., content: {text/xml: {schema: {$ref: "#/components/schemas/x"}}}}}
webhooks:
  asked:
    post:
      operationId: asked
      responses: {"204": {description: Nothing.}}
components:
  parameters: {agent: {name: agent, in: query}}
  schemas: {x: {properties: {y: {items: {properties: {z: {type: string}}}}}}}
`

// faults are what a test that reads text, and sends the same, would say.
type faults struct {
	testing.TB
	n int
}

func (f *faults) Helper()               {}
func (f *faults) Errorf(string, ...any) { f.n++ }

func read(t *testing.T, text string) (*Document, *faults) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "openapi.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &faults{TB: t}
	return Read(f, file), f
}

func TestADocumentIsRead(t *testing.T) {
	d, f := read(t, small)
	get, hook := d.Operations["GET /x/{id}"], d.Operations["POST asked"]
	if f.n != 0 || get == nil || hook == nil {
		t.Fatalf("%d faults, operations %v", f.n, d.Operations)
	}
	if !slices.Equal(get.Parameters, []string{"path id", "query agent"}) || !slices.Equal(get.Responses[200], []string{"text/xml"}) {
		t.Errorf("%+v", get)
	}
	if !d.Names["x"] || !d.Names["y"] || !d.Names["z"] {
		t.Errorf("names %v", d.Names)
	}
}

func TestFaultsOfADocumentAreFound(t *testing.T) {
	for name, change := range map[string][2]string{
		"version":               {"3.1.0", "3.0.3"},
		"reference":             {"schemas/x", "schemas/w"},
		"path's parameter":      {"name: id", "name: ip"},
		"operationId of two":    {"operationId: asked", "operationId: readX"},
		"no description":        {"{description: Nothing.}", "{}"},
		"a status that is none": {`"204"`, "default"},
	} {
		text := strings.Replace(small, change[0], change[1], 1)
		if _, f := read(t, text); f.n == 0 || text == small {
			t.Errorf("%s: nothing is found", name)
		}
	}
}

func TestAnswersAreCompared(t *testing.T) {
	xml, none := http.Header{"Content-Type": {"text/xml; charset=UTF-8"}}, http.Header{}
	for _, c := range []struct {
		method string
		status int
		header http.Header
		faults int
	}{
		{"GET", 200, xml, 0}, {"GET", 200, none, 1}, {"GET", 201, xml, 2}, {"PUT", 405, xml, 1}, {"PUT", 200, none, 2},
	} {
		d, _ := read(t, small)
		a, f := d.Watch(), &faults{TB: t}
		a.Note(f, c.method, "/x/{id}", c.status, c.header)
		a.Check(f, "/x/{id}")
		if f.n != c.faults {
			t.Errorf("%s %d %v: %d faults, want %d", c.method, c.status, c.header, f.n, c.faults)
		}
	}
}
