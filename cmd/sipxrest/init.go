package main

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/restauth"
)

type initCommand struct {
	Dir         string  `placeholder:"DIR" help:"Folder for the files. Default: /etc/sipxrest for root, else this one."`
	Domain      *string `placeholder:"NAME" help:"SIP domain whose users call, such as pbx.example."`
	Proxy       *string `placeholder:"URI" help:"SIP proxy, such as sip:192.0.2.1:5060; dns: that of the domain by DNS."`
	User        *string `placeholder:"NAME" help:"User name of the first user at the proxy, such as 201."`
	PIN         *string `name:"pin" placeholder:"PIN" help:"His PIN for HTTP; empty: one is made. Others on this machine may see it while the command runs."`
	SIPPassword *string `name:"sip-password" placeholder:"SECRET" help:"His SIP password; empty: none. Others on this machine may see it while the command runs."`
}

// Help is what init --help adds.
func (*initCommand) Help() string {
	return `Asks for what no flag says: the domain, the proxy, and the first user with his PIN
and SIP password, which are not shown. From a pipe each line is an answer, in that
order. It writes sipxrest.yaml and users.yaml, which nobody else may read, and
overwrites nothing. Written by root, the group sipxrest may read them, if there is one.

Examples:

  sudo sipxrest init
  sipxrest init --domain pbx.example --proxy sip:192.0.2.1:5060 --user 201
  printf '1234\nsecret\n' | sipxrest init --dir . --domain pbx.example --proxy dns --user 201`
}

const (
	// initTries is how often a question is asked at a terminal.
	initTries = 3
	// pinDigits is the length of a PIN that is made.
	pinDigits = 8
	// serviceGroup may read what root writes: the service is its only member.
	serviceGroup = "sipxrest"
)

// Run asks and writes.
func (c *initCommand) Run(w world) error {
	dir := c.Dir
	if dir == "" {
		if dir = "."; os.Geteuid() == 0 {
			dir = filepath.Dir(config.SystemFile)
		}
	}
	files := initFiles{dir: dir}
	if err := files.absent(); err != nil { // before anybody types answers
		return err
	}
	a, err := c.ask(w)
	if err != nil {
		return err
	}
	madePIN := a.pin == ""
	if madePIN {
		a.pin = randomPIN()
	}
	group, err := files.write(a)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "Written: %s and %s, for %s alone.\n", files.config(), files.users(), readers(group))
	if madePIN {
		fmt.Fprintf(w.stdout, "The PIN of %s is %s.\n", a.user, a.pin)
	}
	flag := ""
	if c.Dir != "" && filepath.Clean(c.Dir) != "." {
		flag = " --config " + files.config()
	}
	try := ""
	if a.sipPassword != "" {
		try = " --user " + a.user
	}
	fmt.Fprintf(w.stdout, "Next:  sipxrest check%s%s\n", flag, try)
	if group != "" {
		fmt.Fprintf(w.stdout, "Then:  systemctl enable --now sipxrest\n")
	} else {
		fmt.Fprintf(w.stdout, "Then:  sipxrest serve%s\n", flag)
	}
	fmt.Fprintf(w.stdout, "And:   curl -k -u %s:PIN -X POST https://localhost:6666/callcontroller/%s/NUMBER\n", a.user, a.user)
	return nil
}

func readers(group string) string {
	if group != "" {
		return "root and the group " + group
	}
	return "you"
}

// answers are what a first configuration needs.
type answers struct{ domain, proxy, user, pin, sipPassword string }

// A question has a flag, a key for messages, and a check.
type question struct {
	flag, ask string
	given     *string
	secret    bool
	empty     bool // may be left empty
	into      *string
	check     func(*answers) error
}

// ask takes the flags, then asks for the rest. All flags are checked first, so
// that nobody types answers in vain.
func (c *initCommand) ask(w world) (*answers, error) {
	a := &answers{}
	list := []question{
		{flag: "--domain", ask: "SIP domain whose users call, such as pbx.example", given: c.Domain, into: &a.domain, check: checkAnsweredDomain},
		{flag: "--proxy", ask: "SIP proxy, such as 192.0.2.1:5060 (dns: by DNS, of the domain)", given: c.Proxy, into: &a.proxy, check: checkAnsweredProxy},
		{flag: "--user", ask: "First user, as the proxy knows him, such as 201", given: c.User, into: &a.user, check: checkAnsweredUser},
		{flag: "--pin", ask: "PIN for HTTP (empty: one is made)", given: c.PIN, secret: true, empty: true, into: &a.pin, check: checkAnsweredUser},
		{flag: "--sip-password", ask: "SIP password, as the proxy knows it (empty for none)", given: c.SIPPassword, secret: true, empty: true, into: &a.sipPassword, check: checkAnsweredUser},
	}
	for _, q := range list {
		if q.given == nil {
			continue
		}
		if err := q.take(a, *q.given); err != nil {
			return nil, err
		}
	}
	in := secrets(w)
	file, _ := w.stdin.(*os.File)
	terminal := file != nil && isTerminal(file)
	for _, q := range list {
		if q.given != nil {
			continue
		}
		for try := 1; ; try++ {
			text, err := q.read(w, in, terminal)
			if err == nil {
				err = q.take(a, text)
			}
			if err == nil {
				break
			}
			if !terminal || try == initTries || errors.Is(err, errNoAnswer) {
				return nil, err
			}
			fmt.Fprintln(w.stderr, err)
		}
	}
	return a, nil
}

// errNoAnswer says that the input has ended.
var errNoAnswer = errors.New("no answer")

// read asks for one line.
func (q *question) read(w world, in *bufio.Reader, terminal bool) (string, error) {
	if _, err := in.Peek(1); !terminal && err != nil {
		if q.empty {
			return "", nil
		}
		return "", fmt.Errorf("%s: %w: add the flag, or write a line for it", q.flag, errNoAnswer)
	}
	if q.secret {
		text, err := askSecret(w, in, q.ask)
		if err != nil {
			return "", fmt.Errorf("%s: %w", q.flag, err)
		}
		return text, nil
	}
	if terminal {
		fmt.Fprintf(w.stderr, "%s: ", q.ask)
	}
	line, err := in.ReadString('\n')
	if err != nil && (err != io.EOF || line == "") {
		return "", fmt.Errorf("%s: %w", q.flag, errNoAnswer)
	}
	return strings.TrimSpace(line), nil
}

// take checks an answer. Its error names the flag, and never holds a secret.
func (q *question) take(a *answers, text string) error {
	err := func() error {
		switch {
		case len(text) > maxSecret:
			return fmt.Errorf("it has more than %d bytes", maxSecret)
		case strings.ContainsRune(text, utf8.RuneError): // what the parser of flags makes of others, too
			return errors.New("it is not UTF-8")
		case text == "" && !q.empty:
			return errors.New("missing: it may not be empty")
		}
		*q.into = text
		return q.check(a)
	}()
	if err != nil {
		*q.into = ""
		return fmt.Errorf("%s: %w", q.flag, err)
	}
	return nil
}

// checkAnswered checks a configuration that holds nothing else.
func checkAnswered(set func(*config.Config)) error {
	cfg := config.Default()
	cfg.Domain, cfg.DataDir, cfg.Users = "pbx.example", "data", []string{"users.yaml"}
	set(&cfg)
	return cfg.Validate()
}

func checkAnsweredDomain(a *answers) error {
	return checkAnswered(func(cfg *config.Config) { cfg.Domain = a.domain })
}

// checkAnsweredProxy completes an address to a URI. A proxy that is reached by
// other than UDP and TCP needs a socket for it, as the service is called back there.
func checkAnsweredProxy(a *answers) error {
	if a.proxy == "dns" {
		a.proxy = ""
		return nil
	}
	if !strings.HasPrefix(a.proxy, "sip:") && !strings.HasPrefix(a.proxy, "sips:") {
		a.proxy = "sip:" + a.proxy
	}
	return checkAnswered(func(cfg *config.Config) {
		cfg.SIP.OutboundProxy = []string{a.proxy}
		cfg.SIP.Listen = a.sockets()
	})
}

// checkAnsweredUser checks the user, or his secrets while his name is not known yet.
func checkAnsweredUser(a *answers) error {
	u := *a
	u.user = cmp.Or(u.user, "201")
	return restauth.CheckUsers([]byte(u.usersText()))
}

// sockets returns sip.listen where the default does not do: nil, where it does.
func (a *answers) sockets() []string {
	if a.proxy == "" {
		return nil
	}
	target, err := config.ProxyTarget(a.proxy)
	if err != nil {
		return nil
	}
	transport := target.Transport
	switch {
	case target.Secure && strings.HasPrefix(transport, "ws"):
		transport = "wss"
	case target.Secure:
		transport = "tls"
	}
	cfg := config.Default()
	cfg.SIP.OutboundProxy = []string{a.proxy}
	list := cfg.SIPListen()
	port, own := map[string]string{"tls": ":6051", "ws": ":6052", "wss": ":6053"}[transport]
	if !own {
		return nil
	}
	at, _ := strings.CutSuffix(strings.TrimPrefix(list[0], "udp:"), ":6050")
	return append(list, transport+":"+at+port)
}

// configText is the configuration.
func (a *answers) configText() string {
	var b strings.Builder
	b.WriteString("# Written by sipxrest init. All keys, with what they do: sipxrest serve --example-config\n")
	fmt.Fprintf(&b, "\n# The SIP domain whose users call.\ndomain: %s\n", strconv.Quote(a.domain))
	b.WriteString("\n# The users who may call. The file is read again when it changes.\nusers: [users.yaml]\n")
	if a.proxy == "" {
		b.WriteString("\n# Requests go to the domain's SIP servers, which DNS names.\n#sip:\n  #outbound-proxy: [sip:192.0.2.1:5060]\n")
		return b.String()
	}
	fmt.Fprintf(&b, "\nsip:\n  # Every request goes here.\n  outbound-proxy: [%s]\n", strconv.Quote(a.proxy))
	if list := a.sockets(); list != nil {
		fmt.Fprintf(&b, "  # What the proxy's transport needs, beside the usual sockets.\n  listen: %s\n", yamlList(list))
	}
	return b.String()
}

// usersText is the file of users.
func (a *answers) usersText() string {
	var b strings.Builder
	b.WriteString("# The users who may call. sipxrest user hash makes hashes to store in place of\n# the secrets; they hold for one realm only.\n")
	fmt.Fprintf(&b, "- user: %s\n  pin: %s # for HTTP\n", strconv.Quote(a.user), strconv.Quote(a.pin))
	if a.sipPassword != "" {
		fmt.Fprintf(&b, "  sip-password: %s # for the proxy\n", strconv.Quote(a.sipPassword))
	}
	return b.String()
}

// randomPIN makes a PIN that phones can dial.
func randomPIN() string {
	const digits = "0123456789"
	var b strings.Builder
	for one := make([]byte, 1); b.Len() < pinDigits; {
		if _, _ = rand.Read(one); one[0] < 250 { // above, some digits would come more often
			b.WriteByte(digits[one[0]%10])
		}
	}
	return b.String()
}

// initFiles are the files of a folder.
type initFiles struct{ dir string }

func (f initFiles) config() string { return filepath.Join(f.dir, "sipxrest.yaml") }
func (f initFiles) users() string  { return filepath.Join(f.dir, "users.yaml") }

// absent fails if one of the files is there.
func (f initFiles) absent() error {
	for _, name := range []string{f.config(), f.users()} {
		if _, err := os.Lstat(name); err == nil {
			return fmt.Errorf("%s is there, and nothing is overwritten: edit it, or name another folder by --dir", name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// write writes both files beside their places, has them read as the service will,
// and links them there: a link fails where a file is. What fails leaves nothing.
func (f initFiles) write(a *answers) (group string, err error) {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return "", err
	}
	draft, err := os.MkdirTemp(f.dir, ".init-")
	if err != nil {
		return "", fmt.Errorf("%w: name another folder by --dir, or use sudo", err)
	}
	defer os.RemoveAll(draft)
	in := initFiles{dir: draft}
	for name, text := range map[string]string{in.config(): a.configText(), in.users(): a.usersText()} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	cfg, err := config.Load(config.Source{File: in.config()})
	if err != nil {
		return "", err
	}
	if _, err := restauth.LoadUsers(restauth.UsersConfig{Domain: cfg.Domain, Realm: cfg.Realm, Files: cfg.Users}); err != nil {
		return "", err
	}
	if group, err = giveToService(in.config(), in.users()); err != nil {
		return "", err
	}
	if err := os.Link(in.users(), f.users()); err != nil {
		return "", err
	}
	if err := os.Link(in.config(), f.config()); err != nil {
		os.Remove(f.users())
		return "", err
	}
	return group, nil
}
