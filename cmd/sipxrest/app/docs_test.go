package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// testNames are the tests of a folder, and every string in their files: the
// names of cases are among them.
type testNames struct{ tests, literals map[string]bool }

// allTests reads every test of the module, whatever its build tags.
func allTests(t *testing.T, root string) map[string]*testNames {
	t.Helper()
	all := map[string]*testNames{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		names := all[filepath.ToSlash(dir)]
		if names == nil {
			names = &testNames{map[string]bool{}, map[string]bool{}}
			all[filepath.ToSlash(dir)] = names
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				names.tests[n.Name.Name] = n.Recv == nil
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					names.literals[s] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// inTests finds a folder by its name, or by the end of its path.
func inTests(all map[string]*testNames, folder string) *testNames {
	for dir, names := range all {
		if dir == folder || strings.HasSuffix(dir, "/"+folder) && all[folder] == nil {
			return names
		}
	}
	return nil
}

var namedTest = regexp.MustCompile("`([a-z/]+)\\.((?:Test|Fuzz)\\w+)(?:/([^`]+))?`")

// What the documents say of a test must be true of the code: each row names a
// test that there is, or says why it has none.
func TestTheDocumentsNameTestsThatExist(t *testing.T) {
	const root = "../../.."
	all := allTests(t, root)
	for _, doc := range []string{"docs/conformance.md", "docs/security.md", "docs/api-tests.md", "docs/cluster-tests.md"} {
		text, err := os.ReadFile(filepath.Join(root, doc))
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		for i, line := range strings.Split(string(text), "\n") {
			for _, m := range namedTest.FindAllStringSubmatch(line, -1) {
				names := inTests(all, m[1])
				if names == nil || !names.tests[m[2]] {
					t.Errorf("%s:%d: there is no test %s in %s", doc, i+1, m[2], m[1])
				} else if m[3] != "" && !names.literals[m[3]] {
					t.Errorf("%s:%d: %s has no case %q", doc, i+1, m[2], m[3])
				}
			}
			cells := strings.Split(strings.Trim(line, "|"), " | ")
			if !strings.HasPrefix(line, "| ") || strings.HasSuffix(line, "| tests |") {
				continue
			}
			rows++
			switch open := strings.Contains(line, "| — "); {
			case len(cells) != 3:
				t.Errorf("%s:%d: a row has three cells, this one %d", doc, i+1, len(cells))
			case (len(namedTest.FindAllString(cells[2], -1)) == 0) != open,
				strings.Count(cells[2], "`") != 2*len(namedTest.FindAllString(cells[2], -1)):
				t.Errorf("%s:%d: a row names tests only, or says after “—” why it has none", doc, i+1)
			}
		}
		if rows < 20 {
			t.Errorf("%s has %d rows", doc, rows)
		}
	}
}
