package setting

import (
	"fmt"
	"strings"
	"testing"
)

func TestADocumentIsReadOrItIsSaidWhyNot(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1":               "",
		"":                   "nothing",
		"# only this\n":      "nothing",
		"~":                  "nothing",
		"a: &x [1]\nb: *x":   "",
		"a: 1\n---\nb: 2":    "more than one document",
		"a: [":               "yaml",
		"a: 1\n#b:\n  c: 1":  "is the section's own line, above it, behind a #?",
		"a:\n\tb: 1":         "indent with spaces, YAML takes no tabs",
		"secret: *sesame123": "put a text that begins with * in quotes",
		"a: &a [*a]":         "", // whatever reads it wants plain values
	} {
		n, err := Document([]byte(text))
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		case n == nil:
			got = "nothing"
		}
		if !strings.Contains(got, want) || want == "" && got != "" || strings.Contains(got, "sesame") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Nine lines that stand for a thousand million values, and a short list that is
// used very often.
func TestAliasesCannotMultiplyADocument(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 8 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	often := "a: &a [" + strings.Repeat("x, ", 1000) + "]\nb: [" + strings.Repeat("*a, ", 1000) + "]\n"
	for name, text := range map[string]string{"aliases of aliases": bomb, "one alias often": often} {
		if _, err := Document([]byte(text)); err == nil || !strings.Contains(err.Error(), "aliases") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Document([]byte("a: &a [" + strings.Repeat("x, ", 1000) + "]\nb: [" + strings.Repeat("*a, ", 90) + "]\n")); err != nil {
		t.Error(err)
	}
	if _, err := Document([]byte("[" + strings.Repeat("x, ", 120_000) + "]")); err != nil {
		t.Errorf("without aliases: %v", err)
	}
}
