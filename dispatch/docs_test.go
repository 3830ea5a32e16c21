package dispatch

import (
	"os"
	"sync"
	"testing"

	"go.yaml.in/yaml/v4"
)

// described are the fields of a schema in docs/openapi.yaml.
var described = sync.OnceValues(func() (map[string]map[string]bool, error) {
	data, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any
			}
		}
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	all := map[string]map[string]bool{}
	for name, schema := range doc.Components.Schemas {
		all[name] = map[string]bool{}
		for field := range schema.Properties {
			all[name][field] = true
		}
	}
	return all, nil
})

func TestTheDocumentDescribesEveryFieldOfAnAnswer(t *testing.T) {
	all, err := described()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for field := range all["decision"] {
		names[plain(field)] = true
		if !known[plain(field)] {
			t.Errorf("docs/openapi.yaml describes %s, which is not read", field)
		}
	}
	for field := range known {
		if !names[field] {
			t.Errorf("docs/openapi.yaml does not describe %s", field)
		}
	}
}

// describes checks what a webhook was told.
func describes(t *testing.T, said map[string]any) {
	t.Helper()
	all, err := described()
	if err != nil {
		t.Fatal(err)
	}
	for field := range said {
		if !all["incoming"][field] && !all["decision"][field] && !all["callEvent"][field] {
			t.Errorf("docs/openapi.yaml does not describe %s of %v", field, said["event"])
		}
	}
}
