package sipflow

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// filesInDoc are the package's files as doc.go lists them, the lowest first.
func filesInDoc(t *testing.T) (files []string) {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z_]+\.go) `).FindAllStringSubmatch(string(doc), -1) {
		files = append(files, m[1])
	}
	return files
}

// Who looks for something reads doc.go first.
func TestTheGuideNamesEveryFile(t *testing.T) {
	listed := filesInDoc(t)
	there, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	there = slices.DeleteFunc(there, func(f string) bool { return f == "doc.go" || strings.HasSuffix(f, "_test.go") })
	for _, f := range there {
		if !slices.Contains(listed, f) {
			t.Errorf("doc.go does not list %s", f)
		}
	}
	for i, f := range listed {
		if !slices.Contains(there, f) || slices.Contains(listed[:i], f) {
			t.Errorf("doc.go lists %s, which there is not, or twice", f)
		}
	}
}

// layerOf is the layer of a file: the part of its name before the first _.
func layerOf(file string) string {
	name := strings.TrimSuffix(file, ".go")
	switch prefix, _, _ := strings.Cut(name, "_"); prefix {
	case "tx", "leg", "bridge", "flow", "inbound":
		return prefix
	}
	return ""
}

// upward is how many names of a higher layer a lower one may use. These numbers
// only fall: when one does, write the new one here.
var upward = map[string]int{
	"tx→leg": 17, "tx→bridge": 0, "tx→flow": 0, "tx→inbound": 5,
	"leg→bridge": 0, "leg→flow": 2, "leg→inbound": 3,
	"bridge→flow": 0, "bridge→inbound": 0, "flow→inbound": 29,
	"files": 196, // that use one above them; where a file is divided they become more
}

// compiled finds what the compiler has written of the packages that this one
// imports. To read their sources instead takes 17 s of a core with the race detector.
func compiled(t *testing.T) importer.Lookup {
	t.Helper()
	var stderr strings.Builder
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

// A layer knows those below it. What it knows of those above makes both hard to
// change, so each such name is counted, and none may be added.
func TestLayersKnowLittleOfThoseAbove(t *testing.T) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range append(filesInDoc(t), "doc.go") {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", compiled(t))}
	pkg, err := conf.Check("sipxrest/sipflow", fset, files, &info)
	if err != nil {
		t.Fatal(err)
	}
	order := map[string]int{}
	for i, f := range filesInDoc(t) {
		order[f] = i
	}
	layers := []string{"tx", "leg", "bridge", "flow", "inbound"}
	names := map[string]map[string]bool{}
	between := map[string]bool{} // pairs of files of which the lower uses the higher
	for id, o := range info.Uses {
		if o.Pkg() != pkg || !o.Pos().IsValid() {
			continue
		}
		if v, field := o.(*types.Var); o.Parent() != pkg.Scope() && !(field && v.IsField()) {
			if f, method := o.(*types.Func); !method || f.Signature().Recv() == nil {
				continue
			}
		}
		from, to := fset.Position(id.Pos()).Filename, fset.Position(o.Pos()).Filename
		if order[to] > order[from] {
			between[from+"→"+to] = true
		}
		low, high := slices.Index(layers, layerOf(from)), slices.Index(layers, layerOf(to))
		if low < 0 || high <= low {
			continue
		}
		key := layers[low] + "→" + layers[high]
		if names[key] == nil {
			names[key] = map[string]bool{}
		}
		names[key][o.Name()] = true
	}
	got := map[string]int{"files": len(between)}
	for key, n := range names {
		got[key] = len(n)
	}
	for _, key := range slices.Sorted(maps.Keys(upward)) {
		if n := got[key]; n > upward[key] {
			t.Errorf("%s: %d names, and there were %d: %s", key, n, upward[key], strings.Join(slices.Sorted(maps.Keys(names[key])), " "))
		} else if n < upward[key] {
			t.Errorf("%s has fallen from %d to %d: write that into upward", key, upward[key], n)
		}
	}
}
