package docstest

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// notService are folders of tests and of the bench: their goroutines end with them.
var notService = []string{"bench", "cmd/sipxrest/interop", "cmd/sipxrest/chaos", "cmd/sipxrest/apptest", "cluster/fakeengine",
	"cluster/clustertest", "docs", "sipflow/siptest", "talk/talktest"}

// Each file that starts a goroutine, and each lock, is on the page of both.
func TestEveryGoroutineAndLockIsOnItsPage(t *testing.T) {
	const name = "docs/concurrency.md"
	text, err := os.ReadFile(filepath.Join(root, name))
	more, moreErr := os.ReadFile(filepath.Join(root, "docs/concurrency-media.md"))
	cluster, clusterErr := os.ReadFile(filepath.Join(root, "docs/concurrency-cluster.md"))
	if err := errors.Join(err, moreErr, clusterErr); err != nil {
		t.Fatal(err)
	}
	text = append(append(text, more...), cluster...)
	page, starts, locks := string(text), 0, 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() && slices.Contains(notService, rel) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		started := false
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				started = true
			case *ast.CallExpr:
				f, ok := n.Fun.(*ast.SelectorExpr)
				started = started || ok && f.Sel.Name == "Go" && len(n.Args) == 1
			case *ast.TypeSpec:
				for _, field := range lockFields(n) {
					locks++
					if !strings.Contains(page, "`"+n.Name.Name+"."+field) {
						t.Errorf("%s does not tell what %s.%s of %s guards", name, n.Name.Name, field, rel)
					}
				}
			}
			return true
		})
		if started {
			starts++
			if !strings.Contains(page, "`"+rel) {
				t.Errorf("%s does not tell which goroutine %s starts", name, rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if starts < 20 || locks < 30 {
		t.Errorf("only %d files that start goroutines and %d locks were found", starts, locks)
	}
}

// lockFields are the fields of a struct that are locks.
func lockFields(spec *ast.TypeSpec) (names []string) {
	st, ok := spec.Type.(*ast.StructType)
	if !ok {
		return nil
	}
	for _, f := range st.Fields.List {
		of, ok := f.Type.(*ast.SelectorExpr)
		if !ok || of.Sel.Name != "Mutex" && of.Sel.Name != "RWMutex" {
			continue
		}
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
	}
	return names
}
