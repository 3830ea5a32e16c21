package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/internal/setting"
	"sipxrest/restauth"
)

// yamlBlocks are the YAML texts of a document: those that are marked so, and those
// that a shell appends to the configuration. They are told by file and line.
func yamlBlocks(file, text string) map[string]string {
	blocks := map[string]string{}
	for _, pattern := range []string{"(?ms)^( *)```ya?ml\n(.*?)^ *```", `(?ms)^( *)cat >>\S*sipxrest\.yaml <<END\n(.*?)^ *END$`} {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatchIndex(text, -1) {
			indent, body := text[m[2]:m[3]], text[m[4]:m[5]]
			var b strings.Builder
			for line := range strings.Lines(body) {
				b.WriteString(strings.TrimPrefix(line, indent))
			}
			blocks[fmt.Sprintf("%s:%d", file, 1+strings.Count(text[:m[0]], "\n"))] = b.String()
		}
	}
	return blocks
}

// Who follows the documents appends their blocks to the installed configuration.
func TestEveryYAMLBlockOfTheDocumentsFitsTheInstalledConfiguration(t *testing.T) {
	const root = "../../.."
	documents, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	guides, err := filepath.Glob(filepath.Join(root, "docs/pbx/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	documents = append(documents, guides...)
	installed, err := os.ReadFile(filepath.Join(root, "packaging/sipxrest.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, k := range new(Config).keys() {
		section, _, _ := strings.Cut(k.Name, ".")
		known = append(known, section)
	}
	kinds := map[string]int{}
	for _, name := range append(documents, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for where, block := range yamlBlocks(filepath.Base(name), string(text)) {
			for variable, value := range map[string]string{"$SIGNALING": "https://signaling.example", "$CLOUD": "https://cloud.example/"} {
				block = strings.ReplaceAll(block, variable, value)
			}
			value, err := setting.Document([]byte(block))
			if err != nil || value == nil {
				t.Errorf("%s: %v", where, err)
				continue
			}
			dir := t.TempDir()
			switch {
			case value.Kind == yaml.SequenceNode:
				kinds["users"]++
				_, err = restauth.LoadUsers(restauth.UsersConfig{Domain: "pbx.example", Files: []string{apptest.Write(t, dir, "users.yaml", block)}})
			case !slices.Contains(known, value.Content[0].Value):
				kinds["of other programs"]++
			case strings.HasPrefix(block, "domain:") || strings.Contains(block, "\ndomain:"):
				kinds["whole"]++
				_, err = Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", block)})
			default:
				kinds["appended"]++
				_, err = Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", string(installed)+block)})
			}
			if err != nil {
				t.Errorf("%s: %v", where, err)
			}
		}
	}
	if kinds["users"] < 2 || kinds["whole"] < 2 || kinds["appended"] < 10 || kinds["of other programs"] > 1 {
		t.Errorf("found %v", kinds)
	}
}

// A section that is open already cannot be appended.
func TestTheExampleHasNoOpenSections(t *testing.T) {
	value, err := setting.Document([]byte(Example))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(value.Content); i += 2 {
		if key := value.Content[i].Value; key != "domain" && key != "users" {
			t.Errorf("%s is set", key)
		}
	}
}
