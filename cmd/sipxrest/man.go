package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"sipxrest/cmd/sipxrest/version"
)

type manCommand struct {
	Dir string `arg:"" help:"Folder that they are written into, such as /usr/local/share/man/man1."`
}

// Help is what man --help adds.
func (*manCommand) Help() string {
	return `Writes one page for the program and one for each command, over those that are
there. Packages install them.

Example:

  sudo sipxrest man /usr/local/share/man/man1`
}

// Run writes the pages.
func (c *manCommand) Run(w world) error {
	parser, err := newParser(&cli{}, w, func(int) {})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	for name, text := range manPages(parser.Model.Node) {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manPages returns the pages by the names of their files.
func manPages(root *kong.Node) map[string]string {
	pages := map[string]string{"sipxrest.1": programPage(root)}
	for _, n := range root.Leaves(true) {
		pages[pageName(n)+".1"] = commandPage(n)
	}
	return pages
}

// pageName is "sipxrest-key-add".
func pageName(n *kong.Node) string { return strings.ReplaceAll(n.FullPath(), " ", "-") }

func programPage(root *kong.Node) string {
	var b strings.Builder
	pageHead(&b, "sipxrest", "third-party call control over HTTP", "sipxrest\\fR [\\fIcommand\\fR] [\\fIflags\\fR]")
	detail(&b, root.Help)
	b.WriteString(".SH COMMANDS\n")
	for _, n := range root.Leaves(true) {
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR(1)\n%s\n", roff(strings.TrimPrefix(n.FullPath(), "")), roff(n.Help))
	}
	b.WriteString(`.SH FILES
.TP
\fI/etc/sipxrest/sipxrest.yaml\fR
The configuration. \fBsipxrest serve \-\-example\-config\fR prints one with every key.
.TP
\fI/etc/sipxrest/users.yaml\fR
The users. It holds secrets.
.TP
\fI/var/lib/sipxrest\fR
What the service keeps.
.SH ENVIRONMENT
Each key can be set: \fBsip.outbound\-proxy\fR is \fBSIPXREST_SIP_OUTBOUND_PROXY\fR.
.SH EXIT STATUS
0: success. 1: failed, and standard error says why. 2: a wrong command line.
`)
	return b.String()
}

func commandPage(n *kong.Node) string {
	var b strings.Builder
	synopsis := roff(n.FullPath()) + "\\fR"
	for _, p := range n.Positional {
		synopsis += " \\fI" + roff(p.Name) + "\\fR"
	}
	pageHead(&b, pageName(n), strings.TrimSuffix(n.Help, "."), synopsis+" [\\fIflags\\fR]")
	fmt.Fprintf(&b, "%s\n", roff(n.Help))
	if n.Detail != "" {
		b.WriteString(".PP\n")
		detail(&b, n.Detail)
	}
	if len(n.Positional) > 0 {
		b.WriteString(".SH ARGUMENTS\n")
		for _, p := range n.Positional {
			fmt.Fprintf(&b, ".TP\n\\fI%s\\fR\n%s\n", roff(p.Name), roff(p.Help))
		}
	}
	b.WriteString(".SH FLAGS\n")
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			short, value := "", ""
			if f.Short != 0 {
				short = "\\fB\\-" + string(f.Short) + "\\fR, "
			}
			if !f.IsBool() {
				value = "=\\fI" + roff(f.FormatPlaceHolder()) + "\\fR"
			}
			fmt.Fprintf(&b, ".TP\n%s\\fB%s\\fR%s\n%s\n", short, roff("--"+f.Name), value, roff(f.Help))
		}
	}
	b.WriteString(".SH SEE ALSO\n\\fBsipxrest\\fR(1)\n")
	return b.String()
}

// pageHead has no date, so that a page is the same whenever it is made.
func pageHead(b *strings.Builder, name, what, synopsis string) {
	fmt.Fprintf(b, ".TH %s 1 \"\" \"sipxrest %s\"\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n\\fB%s\n.SH DESCRIPTION\n",
		roff(strings.ToUpper(name)), roff(version.Current().Version), roff(name), roff(what), synopsis)
}

// detail writes paragraphs; indented ones stay as they are.
func detail(b *strings.Builder, text string) {
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(block, " ") {
			fmt.Fprintf(b, ".PP\n.RS 4\n.nf\n%s\n.fi\n.RE\n", roff(outdent(block)))
			continue
		}
		fmt.Fprintf(b, ".PP\n%s\n", roff(block))
	}
}

// outdent takes away the spaces before the first line from all lines.
func outdent(block string) string {
	indent := block[:len(block)-len(strings.TrimLeft(block, " "))]
	lines := strings.Split(block, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], indent)
	}
	return strings.Join(lines, "\n")
}

// roff has text mean itself: backslashes, hyphens, and dots and quotes that begin a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "“", `\(lq`, "”", `\(rq`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
