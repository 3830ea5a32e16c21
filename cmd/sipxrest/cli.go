package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/version"
	"sipxrest/internal/setting"
)

// world is what a command sees of its surroundings; tests make their own.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

// cli is the command line.
type cli struct {
	Serve    serveCommand    `cmd:"" default:"withargs" help:"Serve. This is the default command."`
	Demo     demoCommand     `cmd:"" help:"Make a call between two phones on this machine and explain it."`
	Init     initCommand     `cmd:"" help:"Write a first configuration: asks for the domain, the proxy and the first user."`
	Check    checkCommand    `cmd:"" help:"Say in plain words what is wrong with the configuration, the users, DNS and the proxy."`
	Reload   reloadCommand   `cmd:"" help:"Have the running service read its files again, and say what became of it."`
	User     userCommand     `cmd:"" help:"Help with the users' file."`
	Policy   policyCommand   `cmd:"" help:"Try who may dial what."`
	Dispatch dispatchCommand `cmd:"" help:"Try what becomes of a call that comes in."`
	Phone    phoneCommand    `cmd:"" help:"Help with calls over WebSocket."`
	Key      keyCommand      `cmd:"" help:"The API keys of programs that use /v1."`
	Store    storeCommand    `cmd:"" help:"Keep what the nodes of a cluster write: a process of its own."`
	Cluster  clusterCommand  `cmd:"" help:"Look at the nodes of a cluster, drain one, or fence one that is dead."`
	Health   healthCommand   `cmd:"" help:"Say whether the service runs and takes calls, for containers and scripts."`
	Complete completeCommand `cmd:"" name:"completion" help:"Print what completes this command line in a shell."`
	Man      manCommand      `cmd:"" help:"Write the manual pages."`
	Version  versionCommand  `cmd:"" help:"Print the version."`

	VersionFlag kong.VersionFlag `name:"version" hidden:"" help:"Print the version."`
}

const description = `Third-party call control over HTTP: POST /callcontroller/201/202 makes 201's phone ring and, once it is answered, call 202.

    sipxrest init                                     write a configuration
    sipxrest serve --example-config                   everything that it may hold
    sipxrest check                                    is it right?
    sipxrest demo                                     see a call being made
    sipxrest                                          serve`

// configFlags are the flags of every command that reads the configuration.
type configFlags struct {
	Config        string   `short:"c" placeholder:"FILE" help:"Configuration. Default: sipxrest.yaml here or in /etc/sipxrest."`
	ConfDir       string   `placeholder:"DIR" help:"Read the files of a sipX installation, such as /etc/sipxpbx."`
	Domain        string   `placeholder:"NAME" help:"SIP domain whose users call."`
	Realm         string   `placeholder:"NAME" help:"Digest realm. Default: the domain."`
	DataDir       string   `placeholder:"DIR" help:"Folder for what the service keeps."`
	Users         []string `placeholder:"FILE" help:"File with the users: users.yaml, validusers.xml, htpasswd or htdigest."`
	SIPListen     []string `name:"sip-listen" placeholder:"udp:IP:PORT" help:"SIP sockets."`
	OutboundProxy []string `placeholder:"URI" help:"Where every SIP request goes, such as sip:192.0.2.1:5060."`
	LogLevel      string   `placeholder:"LEVEL" help:"debug, info, warn or error."`
	LogFormat     string   `placeholder:"FORMAT" help:"text or json."`
	Set           []string `sep:"none" placeholder:"KEY=VALUE" help:"Any other key, such as --set call.timeout=90s. A list is YAML text."`
}

// source answers where the configuration comes from.
func (f *configFlags) source(w world) (config.Source, error) {
	src := config.Source{File: f.Config, ConfDir: f.ConfDir, Environ: w.environ}
	for _, s := range []config.Setting{
		{Flag: "--domain", Key: "domain", Value: f.Domain},
		{Flag: "--realm", Key: "realm", Value: f.Realm},
		{Flag: "--data-dir", Key: "data-dir", Value: f.DataDir},
		{Flag: "--users", Key: "users", Value: yamlList(f.Users)},
		{Flag: "--sip-listen", Key: "sip.listen", Value: yamlList(f.SIPListen)},
		{Flag: "--outbound-proxy", Key: "sip.outbound-proxy", Value: yamlList(f.OutboundProxy)},
		{Flag: "--log-level", Key: "log.level", Value: f.LogLevel},
		{Flag: "--log-format", Key: "log.format", Value: f.LogFormat},
	} {
		if s.Value != "" {
			src.Set = append(src.Set, s)
		}
	}
	for _, s := range f.Set {
		key, val, ok := strings.Cut(s, "=")
		if !ok {
			return src, fmt.Errorf("--set %s: write KEY=VALUE, such as --set call.timeout=90s", s)
		}
		src.Set = append(src.Set, config.Setting{Flag: "--set", Key: key, Value: val})
	}
	return src, nil
}

// yamlList writes a list as YAML text, "" for none.
func yamlList(items []string) string {
	if len(items) == 0 {
		return ""
	}
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// errFailed ends a command that has said why by itself.
var errFailed = errors.New("failed")

// Exit codes.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

// newParser makes the parser of c; exit is called by flags such as --help.
func newParser(c *cli, w world, exit func(int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("sipxrest"),
		kong.Description(description),
		kong.Vars{"version": version.String()},
		kong.Writers(w.stdout, w.stderr),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Summary: false}),
	)
}

// run parses the command line, runs the command and answers the exit code.
func run(args []string, w world) int {
	var c cli
	exited, code := false, exitOK
	parser, err := newParser(&c, w, func(n int) { exited, code = true, n })
	if err != nil {
		fmt.Fprintln(w.stderr, "sipxrest:", err)
		return exitUsage
	}
	if firstWord(args) == "help" {
		args = append(args[1:len(args):len(args)], "--help")
	}
	ctx, err := parser.Parse(args)
	if exited { // --help, --version
		return code
	}
	if err != nil {
		help := "sipxrest"
		var commands []string
		for _, n := range parser.Model.Children {
			commands = append(commands, n.Name)
		}
		word := firstWord(args)
		if slices.Contains(commands, word) {
			help += " " + word
		} else if best := setting.Nearest(word, commands); best != "" {
			err = fmt.Errorf("%w: did you mean sipxrest %s?", err, best)
		} else if slices.ContainsFunc(args, func(a string) bool { return slices.Contains(commands, a) }) {
			err = fmt.Errorf("%w: write flags after the command", err)
		}
		fmt.Fprintf(w.stderr, "sipxrest: %v\nSee %s --help.\n", err, help)
		return exitUsage
	}
	ctx.Bind(w)
	if err := ctx.Run(); err != nil {
		if !errors.Is(err, errFailed) {
			fmt.Fprintln(w.stderr, app.Failure(w.stderr, fmt.Sprint("sipxrest: ", err)))
		}
		return exitFailed
	}
	return exitOK
}

// firstWord answers the argument that stands where a command should.
func firstWord(args []string) string {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return ""
	}
	return args[0]
}
