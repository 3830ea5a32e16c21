package console

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// sources are the files of the page whose names end so, by name.
func sources(t *testing.T, end string) map[string]string {
	t.Helper()
	names, err := fs.Glob(embedded, "page/*"+end)
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	all := map[string]string{}
	for _, name := range names {
		body, err := embedded.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[path.Base(name)] = string(body)
	}
	return all
}

// texts is the table of texts, by key and language.
func texts(t *testing.T) map[string]map[string]string {
	t.Helper()
	var table map[string]map[string]string
	if err := json.Unmarshal([]byte(sources(t, "texts.json")["texts.json"]), &table); err != nil {
		t.Fatal(err)
	}
	return table
}

var place = regexp.MustCompile(`\{\w+\}`)

func TestEachTextIsThereInBothLanguages(t *testing.T) {
	places := func(text string) []string { return slices.Sorted(slices.Values(place.FindAllString(text, -1))) }
	for key, text := range texts(t) {
		if got := slices.Sorted(maps.Keys(text)); !slices.Equal(got, []string{"de", "en"}) || text["de"] == "" || text["en"] == "" {
			t.Errorf("%s has %v", key, text)
		}
		if en, de := places(text["en"]), places(text["de"]); !slices.Equal(en, de) {
			t.Errorf("%s has the values %v in English, %v in German", key, en, de)
		}
	}
}

var (
	literal = regexp.MustCompile(`"([a-z_]+(?:\.[a-z_]+)*)"`)
	asked   = regexp.MustCompile(`\bt\((?:[^()"` + "`" + `]*\? )?"([^"]+)"(?: : "([^"]+)")?`)
	grouped = regexp.MustCompile(`\bt\(` + "`" + `([a-z]+)\.\$\{|\bword\("([a-z]+)"`)
)

func TestTheTableHasWhatThePageSays(t *testing.T) {
	table := texts(t)
	used, groups := map[string]bool{}, map[string]bool{}
	for name, text := range sources(t, ".js") {
		for _, found := range asked.FindAllStringSubmatch(text, -1) {
			for _, key := range found[1:] {
				if key != "" && table[key] == nil {
					t.Errorf("%s asks for %s", name, key)
				}
			}
		}
		for _, found := range literal.FindAllStringSubmatch(text, -1) {
			used[found[1]] = true
		}
		for _, found := range grouped.FindAllStringSubmatch(text, -1) {
			groups[found[1]+found[2]] = true
		}
	}
	for key := range table {
		group, _, _ := strings.Cut(key, ".")
		if !used[key] && !groups[group] {
			t.Errorf("nobody asks for %s", key)
		}
	}
}

// Words of the API are shown in the user's language, new ones too.
func TestEachWordOfTheAPIHasAText(t *testing.T) {
	body, err := os.ReadFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Enum       []any                `yaml:"enum"`
				Properties map[string]yaml.Node `yaml:"properties"`
			} `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	table := texts(t)
	check := func(group string, words []any) {
		t.Helper()
		if len(words) < 2 {
			t.Errorf("%s has the words %v", group, words)
		}
		for _, word := range words {
			if word, ok := word.(string); ok && table[group+"."+word] == nil {
				t.Errorf("%s.%s has no text", group, word)
			}
		}
	}
	schemas := doc.Components.Schemas
	for group, name := range map[string]string{"kind": "Kind", "source": "Source", "state": "State", "leg": "LegState", "role": "Role",
		"outcome": "Outcome", "reason": "Reason", "event": "EventType"} {
		check(group, schemas[name].Enum)
	}
	for group, at := range map[string][2]string{"verdict": {"CheckResult", "verdict"}, "step": {"CheckStep", "step"},
		"principal": {"Principal", "type"},
		"transfer":  {"TransferOfCall", "mode"}, "transferstate": {"TransferOfCall", "state"}, "hook": {"WebhookStatus", "state"},
		"delivery": {"Delivery", "state"}, "store": {"PrincipalEvents", "store"},
		"trial": {"InboundTrial", "result"}, "action": {"InboundDecision", "action"}, "service": {"Health", "status"}} {
		var property struct {
			Enum []any `yaml:"enum"`
		}
		node := schemas[at[0]].Properties[at[1]]
		if err := node.Decode(&property); err != nil {
			t.Fatal(err)
		}
		check(group, property.Enum)
	}
}

// What comes from the API is text. Each of these would make markup or code of it.
func TestNothingIsPutInAsMarkup(t *testing.T) {
	banned := regexp.MustCompile(`(?i)innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|setHTML|srcdoc|` +
		`createContextualFragment|createPolicy|javascript:|setTimeout\(["'` + "`" + `]`)
	for name, text := range sources(t, ".js") {
		if found := banned.FindString(text); found != "" {
			t.Errorf("%s has %s", name, found)
		}
	}
	inline := regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|\son\w+=|\sstyle=|<style|https?://`)
	if found := inline.FindString(sources(t, ".html")["index.html"]); found != "" {
		t.Errorf("the page has %q", found)
	}
}

// Each file that is named is there: in the page, and in the scripts.
func TestFilesOfThePageAreThere(t *testing.T) {
	all := sources(t, "")
	named := regexp.MustCompile(`(?:src|href)="([^"#]+)"|from "\./([^"]+)"|new URL\("(\w+\.json)"`)
	seen := map[string]bool{"index.html": true}
	for name, text := range all {
		for _, found := range named.FindAllStringSubmatch(text, -1) {
			file := found[1] + found[2] + found[3]
			seen[file] = true
			if all[file] == "" {
				t.Errorf("%s names %s", name, file)
			}
		}
	}
	for name := range all {
		if !seen[name] {
			t.Errorf("nobody names %s", name)
		}
	}
}
