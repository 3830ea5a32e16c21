package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestTheTypesAreThoseOfTheDescription(t *testing.T) {
	source, err := os.ReadFile("../../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := Generate(source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../types.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("client/types.go is old: go generate ./client")
	}
}

func TestWhatHasNoGoTypeIsNamed(t *testing.T) {
	const head = "components:\n  schemas:\n    Thing: "
	for schema, want := range map[string]string{
		"{type: string}": "Thing is neither",
		"{type: object}": "Thing has no properties",
		"{type: object, properties: {a: {type: number}}}":                        `Thing has a member of type ["number"]`,
		"{type: object, properties: {a: {anyOf: [{$ref: x}, {type: integer}]}}}": "Thing has a member of 2 types",
	} {
		if _, err := Generate([]byte(head + schema + "\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", schema, err)
		}
	}
	text, err := Generate([]byte(head +
		"{type: object, required: [a], properties: {a: {type: [integer, 'null']}, b: {type: integer, default: 5}}}\n"))
	if err != nil || !strings.Contains(string(text), "A *int `json:\"a\"`") ||
		!strings.Contains(string(text), "B *int `json:\"b,omitzero\"`") {
		t.Errorf("%s %v", text, err)
	}
}
