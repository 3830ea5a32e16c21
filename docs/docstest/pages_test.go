package docstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

// A page is one Markdown document of the repository.
type page struct {
	name  string // from the root, with slashes
	lines []string
	code  []bool // the line is code: of a fenced block, or an indented one
	table []bool // the line is a row of a table
}

// readPage reads a document, and marks what is not prose in it.
func readPage(name, text string) *page {
	p := &page{name: name, lines: strings.Split(strings.TrimSuffix(text, "\n"), "\n")}
	fence, blank, indented := "", true, false
	list := regexp.MustCompile(`^ *([-*]|\d+\.) `)
	inList := false
	for _, line := range p.lines {
		trimmed := strings.TrimSpace(line)
		code := fence != ""
		switch {
		case fence != "" && trimmed == fence:
			fence = ""
		case fence == "" && strings.HasPrefix(trimmed, "```"):
			fence, code = "```", true
		case fence != "":
		case trimmed == "":
			code = indented
		case list.MatchString(line):
			inList = true
		case !strings.HasPrefix(line, " "):
			inList = false
		}
		indented = fence == "" && !inList && strings.HasPrefix(line, "    ") && (blank || indented)
		p.code = append(p.code, code || indented)
		p.table = append(p.table, fence == "" && strings.HasPrefix(trimmed, "|"))
		blank = trimmed == ""
	}
	return p
}

// pages reads every document of the repository.
func pages(t *testing.T) []*page {
	t.Helper()
	var all []*page
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		all = append(all, readPage(filepath.ToSlash(name), string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var (
	heading  = regexp.MustCompile(`^#{1,6} +(.*?)( +#+)?$`)
	linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	span     = regexp.MustCompile("`([^`]+)`")
)

// anchors are the names of a page's headings, made as GitHub makes them.
func (p *page) anchors() map[string]bool {
	found := map[string]bool{}
	for i, line := range p.lines {
		m := heading.FindStringSubmatch(line)
		if m == nil || p.code[i] {
			continue
		}
		name := anchor(m[1])
		for n, plain := 1, name; found[name]; n++ {
			name = plain + "-" + strconv.Itoa(n)
		}
		found[name] = true
	}
	return found
}

// anchor keeps letters, digits, hyphens and underscores, in lower case; a blank
// becomes a hyphen.
func anchor(title string) string {
	title = linkText.ReplaceAllString(title, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

// deadLinks are the relative links of a page that lead nowhere, as "line: link".
func (p *page) deadLinks(anchorsOf func(name string) (map[string]bool, bool)) (dead []string) {
	for i, line := range p.lines {
		if p.code[i] {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(span.ReplaceAllString(line, ""), -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file := p.name
			if target != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(p.name), target))
			}
			names, ok := anchorsOf(file)
			if !ok || fragment != "" && !names[fragment] {
				dead = append(dead, strconv.Itoa(i+1)+": "+m[1])
			}
		}
	}
	return dead
}

// Every relative link of every document leads to a file that is there, and its
// anchor to one of the headings.
func TestLinksLeadSomewhere(t *testing.T) {
	all, n := pages(t), 0
	byName := map[string]map[string]bool{}
	for _, p := range all {
		byName[p.name] = p.anchors()
	}
	anchorsOf := func(name string) (map[string]bool, bool) {
		n++
		if names, ok := byName[name]; ok {
			return names, true
		}
		_, err := os.Stat(filepath.Join(root, name))
		return nil, err == nil
	}
	for _, p := range all {
		for _, dead := range p.deadLinks(anchorsOf) {
			t.Errorf("%s:%s leads nowhere", p.name, dead)
		}
	}
	if n < 50 {
		t.Errorf("only %d links were found", n)
	}
}

var (
	inTree = regexp.MustCompile(`^[\w.*-]+(/[\w.*-]+)*/?(:\w+)?$`)
	goFile = regexp.MustCompile(`^\w+\.go$`)
	named  = regexp.MustCompile(`\.([A-Za-z]\w*)$`)
)

// A tree knows which files there are.
type tree struct {
	top   map[string]bool // names in the root
	bases map[string]bool // names of Go files, without their folder
}

func readTree(t *testing.T) *tree {
	t.Helper()
	tr := &tree{top: map[string]bool{}, bases: map[string]bool{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if name == "bin" { // what was built is there, or not
			return fs.SkipDir
		}
		if err == nil && !strings.Contains(filepath.ToSlash(name), "/") {
			tr.top[name] = true
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			tr.bases[d.Name()] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// missing says what is wrong with a text in backticks that looks like a path of
// the repository, "" if nothing is. "sipflow/leg.go:Leg" is a declaration in a
// file, "sipflow/wire.Parse" one in a package, "sipflow/flow_*.go" a pattern.
func (tr *tree) missing(text string) string {
	if goFile.MatchString(text) {
		if !tr.bases[text] {
			return "there is no file of that name"
		}
		return ""
	}
	first, _, below := strings.Cut(text, "/")
	if !below || !tr.top[first] || !inTree.MatchString(text) {
		return ""
	}
	path, declared, _ := strings.Cut(text, ":")
	files, err := filepath.Glob(filepath.Join(root, path))
	if err != nil || len(files) == 0 {
		m := named.FindStringIndex(path)
		if m == nil || strings.HasSuffix(path, ".go") {
			return "there is no such path"
		}
		info, err := os.Stat(filepath.Join(root, path[:m[0]]))
		if err != nil || !info.IsDir() {
			return "there is no such path"
		}
		return "" // a name in a package, which the tests of the list of limits look up
	}
	if declared == "" {
		return ""
	}
	code, err := os.ReadFile(files[0])
	if err != nil || !regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type |const |var |\t)`+declared+`\b`).Match(code) {
		return "the file does not declare " + declared
	}
	return ""
}

// A file that is renamed must be renamed in the documents, too. Changelogs tell of
// what was.
func TestPathsInDocumentsExist(t *testing.T) {
	tr, n := readTree(t), 0
	for _, p := range pages(t) {
		for i, line := range p.lines {
			if p.code[i] || p.name == "CHANGELOG.md" {
				continue
			}
			for _, m := range span.FindAllStringSubmatch(line, -1) {
				n++
				if why := tr.missing(m[1]); why != "" {
					t.Errorf("%s:%d: `%s`: %s", p.name, i+1, m[1], why)
				}
			}
		}
	}
	if n < 500 {
		t.Errorf("only %d texts in backticks were found", n)
	}
}

// A page that is long is two pages. Benchmarks and the changelog grow.
func TestPagesAreShort(t *testing.T) {
	for _, p := range pages(t) {
		most := 299
		switch p.name {
		case "README.md":
			most = 220
		case "BENCHMARKS.md", "CHANGELOG.md":
			continue
		}
		if n := len(p.lines); n > most {
			t.Errorf("%s has %d lines, at most %d are good", p.name, n, most)
		}
	}
}

// The README is where everybody begins: each page is a link away.
func TestTheReadmeLeadsToEveryPage(t *testing.T) {
	all := pages(t)
	i := slices.IndexFunc(all, func(p *page) bool { return p.name == "README.md" })
	text := strings.Join(all[i].lines, "\n")
	for _, p := range all {
		if strings.HasPrefix(p.name, "docs/") && !strings.Contains(text, "]("+p.name) {
			t.Errorf("README.md has no link to %s", p.name)
		}
	}
}

// mostWords is how many words of a sentence a reader takes in at once.
const mostWords = 25

var sentenceEnd = regexp.MustCompile(`[.!?:;]["”)*]*(\s|$)`)

// longSentences are those of a page's prose that have more words than that.
// Tables, code and headings are not looked at; a link counts by its text.
func (p *page) longSentences() (long []string) {
	var text strings.Builder
	flush := func() {
		for _, s := range sentenceEnd.Split(text.String(), -1) {
			if words := strings.Fields(s); len(words) > mostWords {
				long = append(long, strings.Join(words, " "))
			}
		}
		text.Reset()
	}
	item := regexp.MustCompile(`^ *([-*]|\d+\.) `)
	for i, line := range p.lines {
		if p.code[i] || p.table[i] || strings.TrimSpace(line) == "" || heading.MatchString(line) {
			flush()
			continue
		}
		if item.MatchString(line) {
			flush()
		}
		line = linkText.ReplaceAllString(line, "$1")
		text.WriteString(span.ReplaceAllString(line, "code") + "\n")
	}
	flush()
	return long
}

// What must be read twice is read once, and wrongly.
func TestSentencesAreShort(t *testing.T) {
	for _, p := range pages(t) {
		switch p.name {
		case "BENCHMARKS.md", "bench/README.md", "testdata/captures/README.md":
			continue
		}
		for _, s := range p.longSentences() {
			t.Errorf("%s: a sentence has more than %d words: %s", p.name, mostWords, s)
		}
	}
}

func TestFaultsOfPagesAreFound(t *testing.T) {
	long := strings.Repeat("word ", mostWords+1)
	p := readPage("docs/x.md", "# A `title`: of [two](x.md)\n\n## Same\n\n## Same\n\n[a](#same-1) [b](#same-2) [c](x.md#a-title-of-two) "+
		"[d](z.md) [e](https://example.com/#x)\n\n"+
		"```\n# no heading\n[f](nowhere.md) "+long+"\n```\n\n    [g](nowhere.md) "+long+"\n\n| "+long+" |\n\n- "+long+"\n  `a b` more.\n")
	own := p.anchors()
	if !own["a-title-of-two"] || !own["same"] || !own["same-1"] || len(own) != 3 {
		t.Errorf("anchors %v", own)
	}
	dead := p.deadLinks(func(name string) (map[string]bool, bool) { return own, name == "docs/x.md" })
	if !slices.Equal(dead, []string{"7: #same-2", "7: z.md"}) {
		t.Errorf("dead links %q", dead)
	}
	if got := p.longSentences(); len(got) != 1 || !strings.HasSuffix(got[0], "word code more") {
		t.Errorf("long sentences %q", got)
	}
	tr := readTree(t)
	for text, ok := range map[string]bool{
		"docs/docstest/openapi.go": true, "docs/docstest/openapi.go:Read": true, "docs/docstest/open*.go": true, "docs/": true,
		"docs/docstest.Read": true, "openapi.go": true, "application/sdp": true, "make check": true, "201@pbx.example": true,
		"docs/docstest/gone.go": false, "docs/docstest/openapi.go:Gone": false, "docs/gone*.go": false, "docs/gone.Read": false,
		"docs/docstest.go": false, "gone_at_all.go": false,
	} {
		if why := tr.missing(text); (why == "") != ok {
			t.Errorf("%s: %q", text, why)
		}
	}
}
