package config

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the files that are made of the table of keys")

const (
	packagedFile = "../../../packaging/sipxrest.yaml"
	keysPage     = "../../../docs/configuration.md"
)

// The example, its copy in packaging and the page of keys are what the table says.
func TestTheGeneratedFilesAreCurrent(t *testing.T) {
	page, err := os.ReadFile(keysPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- keys: begin -->\n", "\n<!-- keys: end -->"
	head, rest, begins := strings.Cut(string(page), begin)
	_, tail, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s has no marks where its table of keys begins and ends", keysPage)
	}
	for file, want := range map[string]string{
		"example.yaml": exampleText(""),
		packagedFile:   exampleText(SystemDataDir),
		keysPage:       head + begin + pageOfKeys() + end + tail,
	} {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the table of keys says: go generate ./cmd/sipxrest/config", file)
		}
	}
}

// pageOfKeys is the table of keys for people.
func pageOfKeys() string {
	var b strings.Builder
	b.WriteString("| key | environment | default | meaning |\n|---|---|---|---|")
	for _, r := range new(Config).rows() {
		absent := r.Absent
		switch {
		case absent == "" && r.Default != "":
			absent = "`" + r.Default + "`"
		case absent == "":
			absent = "none"
		}
		b.WriteString("\n| `" + r.Name + "` | `" + variable(r.Name) + "` | " + absent + " | " + r.Doc + " |")
	}
	return b.String()
}

const exampleHead = "# sipxrest: third-party call control over HTTP.\n" +
	"# A line that begins with # and a key shows the default or an example; what is set\n" +
	"# in a section needs the section's line as well. Each key can also be set in the\n" +
	"# environment: sip.outbound-proxy is SIPXREST_SIP_OUTBOUND_PROXY (a list is YAML\n" +
	"# text there: '[a, b]'). Relative paths start at this file.\n" +
	"# `sipxrest check` tells what is wrong with it.\n"

// exampleText is the example. With a data-dir it sets that.
func exampleText(dataDir string) string {
	b := &strings.Builder{}
	b.WriteString(exampleHead)
	open := ""      // the section that is open
	inline := false // a section on one line is open
	for _, r := range inExampleOrder() {
		if dataDir != "" && r.Name == "data-dir" {
			r.Live, r.Show = true, dataDir
		}
		at, word := "", r.Name
		if i := strings.LastIndexByte(r.Name, '.'); i >= 0 {
			at, word = r.Name[:i], r.Name[i+1:]
		}
		if at != open {
			if inline {
				b.WriteString("}\n")
			}
			inline = openSection(b, open, at)
			open = at
		} else if inline {
			b.WriteString(", ")
		}
		show := r.Show
		if show == "" {
			show = r.Default
		}
		if inline {
			b.WriteString(word + ": " + show)
			continue
		}
		indent, mark := "", "#"
		if at != "" {
			indent = "  "
		}
		if r.Live {
			mark = ""
		}
		comment(b, indent, r.About)
		b.WriteString(indent + mark + word + ":")
		if !strings.HasPrefix(show, "\n") {
			b.WriteByte(' ')
		}
		b.WriteString(show + "\n")
	}
	if inline {
		b.WriteString("}\n")
	}
	return b.String()
}

// openSection begins the sections of which at has more than open, and reports
// whether the last one is on one line.
func openSection(b *strings.Builder, open, at string) (inline bool) {
	if at == "" || strings.HasPrefix(open, at+".") {
		return false
	}
	top, below, nested := strings.Cut(at, ".")
	if nested && open != top && !strings.HasPrefix(open, top+".") {
		openSection(b, open, top)
	}
	s, indent := sections[at], ""
	word := top
	if nested {
		indent, word = "  ", below
	}
	comment(b, indent, s.About)
	b.WriteString(indent + "#" + word + ":")
	if s.Inline {
		b.WriteString(" {")
	} else {
		b.WriteByte('\n')
	}
	return s.Inline
}

// comment writes the lines before a key; an empty one stays empty.
func comment(b *strings.Builder, indent, text string) {
	if rest, gap := strings.CutPrefix(text, "\n"); gap {
		b.WriteByte('\n')
		text = rest
	}
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			line = indent + "# " + line
		}
		b.WriteString(line + "\n")
	}
}

// inExampleOrder is the table as the example has it: rows and sections that name
// what comes before them are moved there.
func inExampleOrder() []row {
	rows := new(Config).rows()
	move := func(name, after string) {
		within := func(of string) func(row) bool {
			return func(r row) bool { return r.Name == of || strings.HasPrefix(r.Name, of+".") }
		}
		var moved []row
		for _, r := range rows {
			if within(name)(r) {
				moved = append(moved, r)
			}
		}
		rows = slices.DeleteFunc(rows, within(name))
		last := 0
		for i, r := range rows {
			if within(after)(r) {
				last = i + 1
			}
		}
		rows = slices.Insert(rows, last, moved...)
	}
	after := map[string]string{}
	for _, r := range new(Config).rows() {
		if r.After != "" {
			after[r.Name] = r.After
		}
	}
	var place func(name string)
	place = func(name string) { // what it comes after is placed before
		if to, ok := after[name]; ok {
			delete(after, name)
			place(to)
			move(name, to)
		}
	}
	for _, r := range new(Config).rows() {
		place(r.Name)
	}
	for _, r := range new(Config).rows() {
		for name := r.Name; strings.Contains(name, "."); {
			name = name[:strings.LastIndexByte(name, '.')]
			if s := sections[name]; s.After != "" && !strings.HasPrefix(rows[len(rows)-1].Name, name+".") {
				move(name, s.After)
			}
		}
	}
	return rows
}
