package client_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"sipxrest/sipflow/siptest"
)

const typescript = "../sdk/typescript"

// The TypeScript client is tested by Node against the same service.
func TestTheTypeScriptClient(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed (make setup does it)")
	}
	s := serve(t, siptest.Script{})
	run := exec.CommandContext(t.Context(), node, "--test", "test/client.test.mjs")
	run.Dir = typescript
	run.Env = append(os.Environ(), "SIPXREST="+s.url())
	if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "# pass 6") && !strings.Contains(string(out), "pass 6") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What is published was made of the sources that are there. It says so without npm.
func TestTheTypeScriptClientIsBuilt(t *testing.T) {
	files, err := filepath.Glob(typescript + "/src/*.ts")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	want := ""
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want += fmt.Sprintf("%x  src/%s\n", sha256.Sum256(text), filepath.Base(f))
	}
	if got, err := os.ReadFile(typescript + "/dist/SOURCES"); err != nil || string(got) != want {
		t.Errorf("sdk/typescript/dist is old: npm ci && npm run build there (%v)", err)
	}
}

// Each schema of the description, its members and its words, are in the types.
func TestTheTypeScriptTypesAreThoseOfTheDescription(t *testing.T) {
	text, err := os.ReadFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct {
			Schemas map[string]struct {
				Enum       []string
				Properties map[string]yaml.Node
			}
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	types, err := os.ReadFile(typescript + "/src/schema.ts")
	if err != nil {
		t.Fatal(err)
	}
	_, schemas, _ := strings.Cut(string(types), "\n    schemas: {\n")
	schemas, _, _ = strings.Cut(schemas, "\n    };\n")
	const old = "sdk/typescript/src/schema.ts has no %s: npm ci && npm run types && npm run build there"
	for name, schema := range document.Components.Schemas {
		_, body, found := strings.Cut("\n"+schemas, "\n        "+name+": ")
		if !found {
			t.Errorf(old, name)
			continue
		}
		if end := strings.Index(body, "\n        }"); strings.HasPrefix(body, "{") && end > 0 {
			body = body[:end]
		} else {
			body, _, _ = strings.Cut(body, ";\n")
		}
		for member := range schema.Properties {
			if !strings.Contains(body, " "+member+": ") && !strings.Contains(body, " "+member+"?: ") {
				t.Errorf(old, name+"."+member)
			}
		}
		for _, word := range schema.Enum {
			if !strings.Contains(body, `"`+word+`"`) {
				t.Errorf(old, name+" "+word)
			}
		}
	}
	if len(document.Components.Schemas) < 50 {
		t.Error("too few schemas")
	}
}
