package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// model is the command line as kong knows it.
func model(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := newParser(&cli{}, world{}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

// commandsOf walks all commands; the program itself is one.
func commandsOf(n *kong.Node, visit func(*kong.Node)) {
	visit(n)
	for _, c := range n.Children {
		commandsOf(c, visit)
	}
}

func TestCompletionsNameEachCommandAndFlag(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, script, stderr := command("", nil, "completion", shell)
		if code != 0 || stderr != "" {
			t.Fatalf("%s: code %d, %s", shell, code, stderr)
		}
		commands := 0
		commandsOf(model(t).Node, func(n *kong.Node) {
			path := strings.TrimSpace(strings.TrimPrefix(n.FullPath(), "sipxrest"))
			commands++
			// The part of the script about this command, where there is one.
			part := script
			switch shell {
			case "bash":
				_, part, _ = strings.Cut(script, "\n\t'"+path+"')\n")
				part, _, _ = strings.Cut(part, "\n\t\tcase")
			case "zsh":
				_, part, _ = strings.Cut(script, "\n\t('"+path+"'))\n")
				part, _, _ = strings.Cut(part, "\n\t\t;;")
			case "fish":
				var lines []string
				for l := range strings.SplitSeq(script, "\n") {
					if strings.HasPrefix(l, `complete -c sipxrest -n '__sipxrest_at \'`+path+`\''`) {
						lines = append(lines, l)
					}
				}
				part = strings.Join(lines, "\n")
			}
			has := func(word string) bool {
				if shell == "fish" {
					word = map[bool]string{true: "-l " + strings.TrimPrefix(word, "--"), false: "-a " + word}[strings.HasPrefix(word, "--")]
				}
				return regexp.MustCompile(`(^|[\s'*])` + regexp.QuoteMeta(word) + `([\s'\[:]|$)`).MatchString(part)
			}
			for _, c := range n.Children {
				if !has(c.Name) {
					t.Errorf("%s: %q lacks the command %s", shell, path, c.Name)
				}
			}
			for _, f := range n.Flags {
				if f.Hidden == has("--"+f.Name) {
					t.Errorf("%s: %q: --%s is there: %v", shell, path, f.Name, f.Hidden)
				}
			}
		})
		if commands < 30 {
			t.Errorf("%d commands", commands)
		}
	}
}

func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed (make setup does it)")
	}
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, script, _ := command("", nil, "completion", "bash")
	for words, want := range map[string]string{
		"sipxrest che":                   "check",
		"sipxrest key ":                  "add list revoke",
		"sipxrest key add --na":          "--name",
		"sipxrest -c a.yaml che":         "check",
		"sipxrest phone user un":         "unblock unfavorite unmute",
		"sipxrest completion ":           "bash fish zsh",
		"sipxrest check --config ":       "a.yaml b.yaml c",
		"sipxrest check --config = a":    "a.yaml",
		"sipxrest check --data-dir ":     "c",
		"sipxrest check --domain ":       "",
		"sipxrest user hash 201 --bcr":   "--bcrypt",
		"sipxrest check --config k --js": "--json",
	} {
		run := exec.CommandContext(t.Context(), bash, "--norc", "-c", script+`
			COMP_WORDS=("${@:1}"); COMP_CWORD=$(($# - 1)); _sipxrest; printf '%s\n' "${COMPREPLY[@]}"`, "bash")
		run.Args = append(run.Args, strings.Split(words, " ")...)
		run.Dir = dir
		out, err := run.Output()
		got := strings.Fields(string(out))
		slices.Sort(got)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v, want %q", words, got, err, want)
		}
	}
}

// The shells take what is printed for them, those that are here.
func TestShellsParseTheirCompletions(t *testing.T) {
	for shell, check := range map[string]string{"bash": "-n", "zsh": "-n", "fish": "--no-execute"} {
		t.Run(shell, func(t *testing.T) {
			program, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(shell + " is not installed (make setup does it)")
			}
			_, script, _ := command("", nil, "completion", shell)
			file := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), program, check, file).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestThereIsAManualPageForEachCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if code, out, stderr := command("", nil, "man", dir); code != 0 || out+stderr != "" {
		t.Fatalf("code %d, %s%s", code, out, stderr)
	}
	plain := strings.NewReplacer(`\fB`, "", `\fI`, "", `\fR`, "", `\-`, "-", `\&`, "", `\e`, `\`)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		return plain.Replace(string(text))
	}
	program := read("sipxrest.1")
	commandsOf(model(t).Node, func(n *kong.Node) {
		if len(n.Children) > 0 {
			return
		}
		page := read(strings.ReplaceAll(n.FullPath(), " ", "-") + ".1")
		if !strings.Contains(program, "\n"+n.FullPath()+"(1)\n"+n.Help) || !strings.Contains(page, n.Help) {
			t.Errorf("%s: it, or its help, is missing", n.FullPath())
		}
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				if !regexp.MustCompile(`(?m)^(-. *, )?--` + f.Name + `(=.*)?$`).MatchString(page) {
					t.Errorf("%s lacks --%s", n.FullPath(), f.Name)
				}
			}
		}
		for _, l := range strings.Split(strings.TrimSpace(n.Detail), "\n") {
			if l = plain.Replace(strings.TrimSpace(l)); !strings.Contains(page, strings.ReplaceAll(l, "…", "...")) {
				t.Errorf("%s lacks %q", n.FullPath(), l)
			}
		}
	})
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff, which looks for faults, is not installed (make setup does it)")
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	args := append([]string{"-man", "-ww", "-z", "-Tutf8"}, pages...)
	if out, err := exec.CommandContext(t.Context(), groff, args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%.2000s", err, out)
	}
}
