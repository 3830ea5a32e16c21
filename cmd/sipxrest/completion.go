package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completeCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is what completion --help adds.
func (*completeCommand) Help() string {
	return `Packages install these files. Elsewhere:

  sipxrest completion bash > ~/.local/share/bash-completion/completions/sipxrest
  sipxrest completion zsh  > ~/.zfunc/_sipxrest      # a folder that fpath names
  sipxrest completion fish > ~/.config/fish/completions/sipxrest.fish`
}

// Run prints the script.
func (c *completeCommand) Run(w world) error {
	parser, err := newParser(&cli{}, w, func(int) {})
	if err != nil {
		return err
	}
	write := map[string]func(io.Writer, []line){"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Shell]
	write(w.stdout, linesOf(parser.Model.Node))
	return nil
}

// A line is what may follow some commands: "", "key" or "key add".
type line struct {
	path  string
	help  string
	words []option // commands
	flags []option // --flag and -f
	arg   wants    // what an argument is
}

// An option is a word and what it is for.
type option struct {
	word, help string
	value      wants // what follows a flag; nothing for a switch
}

// wants says what a value is.
type wants struct {
	kind  string   // "", "file", "folder", "list" or "text"
	words []string // of a list
}

// linesOf lists what may follow each command, the shortest first. What serve takes
// may stand without it, for it is the default.
func linesOf(root *kong.Node) []line {
	var out []line
	var walk func(n *kong.Node, path string)
	walk = func(n *kong.Node, path string) {
		l := line{path: path, help: firstSentence(n.Help), flags: optionsOf(n)}
		if n.DefaultCmd != nil {
			l.flags = append(l.flags, optionsOf(n.DefaultCmd)...)
		}
		for _, p := range n.Positional {
			l.arg = wantsOf(p)
		}
		for _, c := range n.Children {
			if !c.Hidden {
				l.words = append(l.words, option{word: c.Name, help: firstSentence(c.Help)})
			}
		}
		slices.SortFunc(l.flags, func(a, b option) int { return strings.Compare(a.word, b.word) })
		l.flags = slices.CompactFunc(l.flags, func(a, b option) bool { return a.word == b.word })
		out = append(out, l)
		for _, c := range n.Children {
			if !c.Hidden {
				walk(c, strings.TrimSpace(path+" "+c.Name))
			}
		}
	}
	walk(root, "")
	return out
}

// optionsOf lists a command's flags, those of the commands above it among them.
func optionsOf(n *kong.Node) (out []option) {
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			o := option{word: "--" + f.Name, help: firstSentence(f.Help), value: wantsOf(f.Value)}
			if f.IsBool() {
				o.value = wants{}
			}
			out = append(out, o)
			if f.Short != 0 {
				o.word = "-" + string(f.Short)
				out = append(out, o)
			}
		}
	}
	return out
}

// wantsOf says what a value is by its placeholder, or by the words that it may be.
func wantsOf(v *kong.Value) wants {
	placeholder := ""
	if v.Flag != nil {
		placeholder = v.Flag.PlaceHolder
	}
	switch {
	case v.Enum != "":
		words := strings.Split(v.Enum, ",")
		slices.Sort(words)
		return wants{kind: "list", words: words}
	case placeholder == "FILE" || v.Name == "file":
		return wants{kind: "file"}
	case placeholder == "DIR":
		return wants{kind: "folder"}
	}
	return wants{kind: "text"}
}

// firstSentence is short enough for a menu.
func firstSentence(help string) string {
	if i := strings.Index(help, ". "); i >= 0 {
		help = help[:i]
	}
	return strings.TrimSuffix(help, ".")
}

// bashCompletion writes a function that finds the commands among the words before
// the cursor, and then offers what may follow them.
func bashCompletion(w io.Writer, lines []line) {
	io.WriteString(w, `# bash completion of sipxrest, made by: sipxrest completion bash
_sipxrest() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev= path= word i
	[ "$COMP_CWORD" -gt 0 ] && prev=${COMP_WORDS[COMP_CWORD-1]}
	if [ "$cur" = = ]; then # bash makes --flag=value three words
		cur=
	elif [ "$prev" = = ]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${path:+$path }${COMP_WORDS[i]}
		case $word in
`)
	fmt.Fprintf(w, "\t\t%s) path=$word ;;\n\t\tesac\n\tdone\n", strings.Join(shellPaths(lines), " | "))
	io.WriteString(w, "\tlocal words= flags= values=text\n\tcase $path in\n")
	for _, l := range lines {
		fmt.Fprintf(w, "\t%s)\n", shellQuote(l.path))
		fmt.Fprintf(w, "\t\twords=%s\n\t\tflags=%s\n", shellQuote(joined(l.words)), shellQuote(joined(l.flags)))
		fmt.Fprintf(w, "\t\tcase $prev in\n")
		for _, f := range l.flags {
			if f.value.kind != "" {
				fmt.Fprintf(w, "\t\t%s) values=%s words= flags= ;;\n", f.word, bashValue(f.value))
			}
		}
		fmt.Fprintf(w, "\t\t*) values=%s ;;\n\t\tesac\n\t\t;;\n", bashValue(l.arg))
	}
	io.WriteString(w, `	esac
	if [[ $cur == -* && -n $flags ]]; then
		COMPREPLY=($(compgen -W "$flags" -- "$cur"))
		return
	fi
	case $values in
	file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;
	folder) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")) ;;
	text) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
	*) COMPREPLY=($(compgen -W "$words $values" -- "$cur")) ;;
	esac
}
complete -F _sipxrest sipxrest
`)
}

func bashValue(v wants) string {
	switch v.kind {
	case "list":
		return shellQuote(strings.Join(v.words, " "))
	case "file", "folder":
		return v.kind
	}
	return "text"
}

// zshCompletion writes a function for zsh's completion system.
func zshCompletion(w io.Writer, lines []line) {
	io.WriteString(w, `#compdef sipxrest
# zsh completion of sipxrest, made by: sipxrest completion zsh
_sipxrest() {
	local path_= word_ i
	local -a commands
	for ((i = 2; i < CURRENT; i++)); do
		word_=${path_:+$path_ }${words[i]}
		case $word_ in
`)
	fmt.Fprintf(w, "\t\t(%s)) path_=$word_ ;;\n\t\tesac\n\tdone\n\tcase $path_ in\n", strings.Join(shellPaths(lines), "|"))
	for _, l := range lines {
		fmt.Fprintf(w, "\t(%s))\n", shellQuote(l.path))
		if len(l.words) > 0 {
			io.WriteString(w, "\t\tif [[ $PREFIX != -* && $words[CURRENT-1] != -* ]]; then\n\t\t\tcommands=(\n")
			for _, o := range l.words {
				fmt.Fprintf(w, "\t\t\t\t%s\n", shellQuote(o.word+":"+o.help))
			}
			io.WriteString(w, "\t\t\t)\n\t\t\t_describe -t commands command commands\n\t\t\treturn\n\t\tfi\n")
		}
		io.WriteString(w, "\t\t_arguments \\\n")
		for _, f := range l.flags {
			fmt.Fprintf(w, "\t\t\t%s \\\n", shellQuote("*"+f.word+"["+zshText(f.help)+"]"+zshValue(f.value)))
		}
		rest := zshValue(l.arg)
		if rest == "" {
			rest = ": :"
		}
		fmt.Fprintf(w, "\t\t\t%s\n\t\t;;\n", shellQuote("*"+rest))
	}
	io.WriteString(w, "\tesac\n}\nif [ \"$funcstack[1]\" = _sipxrest ]; then _sipxrest \"$@\"; else compdef _sipxrest sipxrest; fi\n")
}

func zshText(s string) string {
	return strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`, "\\", `\\`).Replace(s)
}

func zshValue(v wants) string {
	switch v.kind {
	case "list":
		return ":value:(" + strings.Join(v.words, " ") + ")"
	case "file":
		return ":file:_files"
	case "folder":
		return ":folder:_files -/"
	case "text":
		return ":value: "
	}
	return ""
}

// fishCompletion writes one line for each word. The condition compares the commands
// on the line with the path.
func fishCompletion(w io.Writer, lines []line) {
	io.WriteString(w, `# fish completion of sipxrest, made by: sipxrest completion fish
function __sipxrest_at
	set -l path ''
	for word in (commandline -opc)[2..]
		set -l next (string trim -- "$path $word")
		contains -- "$next" `)
	var paths []string
	for _, p := range shellPaths(lines) {
		paths = append(paths, fishQuote(strings.Trim(p, "'")))
	}
	io.WriteString(w, strings.Join(paths, " "))
	io.WriteString(w, "; and set path $next\n\tend\n\ttest \"$path\" = \"$argv[1]\"\nend\ncomplete -c sipxrest -f\n")
	for _, l := range lines {
		at := "complete -c sipxrest -n " + fishQuote("__sipxrest_at "+fishQuote(l.path))
		for _, o := range l.words {
			fmt.Fprintf(w, "%s -a %s -d %s\n", at, o.word, fishQuote(o.help))
		}
		for _, f := range l.flags {
			name, long := strings.CutPrefix(f.word, "--")
			kind := " -l "
			if !long {
				name, kind = strings.TrimPrefix(f.word, "-"), " -s "
			}
			fmt.Fprintf(w, "%s%s%s%s -d %s\n", at, kind, name, fishValue(f.value), fishQuote(f.help))
		}
		if v := fishValue(l.arg); l.arg.kind == "list" || l.arg.kind == "file" {
			fmt.Fprintf(w, "%s%s\n", at, strings.Replace(v, " -r", "", 1))
		}
	}
}

func fishValue(v wants) string {
	switch v.kind {
	case "list":
		return " -x -a " + fishQuote(strings.Join(v.words, " "))
	case "file":
		return " -r -F"
	case "folder":
		return " -x -a '(__fish_complete_directories)'"
	case "text":
		return " -x"
	}
	return ""
}

// shellPaths are the commands, quoted as patterns of case.
func shellPaths(lines []line) (out []string) {
	for _, l := range lines {
		if l.path != "" {
			out = append(out, shellQuote(l.path))
		}
	}
	return out
}

func joined(list []option) string {
	words := make([]string, len(list))
	for i, o := range list {
		words[i] = o.word
	}
	return strings.Join(words, " ")
}

// shellQuote quotes for bash and zsh.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fishQuote quotes for fish.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
