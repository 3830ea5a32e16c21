package lab

import (
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
)

// Linphone is a linphonec with one account, registered at the lab's proxy. It is
// another make of phone than Phone, which is a baresip: its REFER and its session
// descriptions differ.
type Linphone struct {
	*Process
	// User is the account's user part.
	User string
	// Tone is the frequency of its audio in Hz.
	Tone float64

	lab *Lab
	dir string
}

// The configuration of Linphone 5.1. What was learned:
//   - auto_net_state_mon=0: else it waits for a network that loopback is not;
//   - with bind_address it opens no socket at all;
//   - a port of 0 switches a transport off;
//   - without sound cards it refuses calls by 488 unless it uses files, which is
//     a command and no key.
const linphoneConfig = `[sip]
sip_port=%[1]d
sip_tcp_port=0
sip_tls_port=0
default_proxy=0
guess_hostname=0
auto_net_state_mon=0
register_only_when_network_is_up=0
media_encryption=none
%[7]s
inc_timeout=120

[net]
firewall_policy=0
mtu=1300

[rtp]
audio_rtp_port=%[2]d

[video]
enabled=0
capture=0
display=0

[auth_info_0]
username=%[3]s
userid=%[3]s
passwd=%[4]s
realm=%[5]s
domain=%[5]s

[proxy_0]
reg_proxy=<sip:%[6]s;transport=udp>
reg_route=<sip:%[6]s;transport=udp;lr>
reg_identity="%[3]s" <sip:%[3]s@%[5]s>
reg_expires=120
reg_sendregister=1
publish=0
`

// Linphone starts a Linphone for user and waits until it is registered. It rings
// until it is told to answer. more are further lines of its section [sip].
func (l *Lab) Linphone(user string, hz float64, more ...string) *Linphone {
	l.tb.Helper()
	Need(l.tb, "linphonec")
	p := &Linphone{User: user, Tone: hz, lab: l, dir: filepath.Join(l.Dir, "linphone"+user)}
	sip, rtp := Ports(l.tb, 1), Ports(l.tb, 2)
	rc := l.write("linphone"+user+"/rc", fmt.Sprintf(linphoneConfig, sip, rtp, user, Password, Domain, l.Proxy.Addr,
		strings.Join(more, "\n")))
	l.write("linphone"+user+"/.local/share/linphone/empty", "") // it does not make the folder of its database
	l.write("linphone"+user+"/tone.wav", string(tone(hz, 120, sampleRate)))
	p.Process = startIn(l.tb, "linphone"+user, p.dir, []string{"HOME=" + p.dir}, "linphonec", "-S", "-c", rc, "-d", "6", "-l", filepath.Join(p.dir, "messages.log"))
	l.Until("linphone "+user+" is registered", func() bool {
		from := p.Mark()
		p.command("status register")
		m, err := p.AwaitLine(from, regexp.MustCompile(`registered(,|=)`), Patience)
		return err == nil && m[1] == ","
	})
	p.command("soundcard use files")
	p.command("play tone.wav")
	p.command("record heard.wav")
	return p
}

// command types a line at linphonec's prompt.
func (p *Linphone) command(line string) {
	p.lab.tb.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.lab.tb.Fatalf("linphone %s: %s: %v", p.User, line, err)
	}
}

// AwaitRinging waits until a call rings at the phone for the first time.
func (p *Linphone) AwaitRinging() {
	p.lab.tb.Helper()
	p.await("rings", `Receiving new incoming call from`)
}

// AwaitNthRinging waits until its nth call, counted from 1, rings.
func (p *Linphone) AwaitNthRinging(n int) {
	p.lab.tb.Helper()
	p.await("rings", fmt.Sprintf(`Receiving new incoming call from .*, assigned id %d\b`, n))
}

// Answer takes the call that rings.
func (p *Linphone) Answer() { p.lab.tb.Helper(); p.command("answer") }

// HangUp ends the current call; a call that rings is refused with 603.
func (p *Linphone) HangUp() { p.lab.tb.Helper(); p.command("terminate") }

// AwaitInCallWith waits until the phone has talked to user.
func (p *Linphone) AwaitInCallWith(user string) {
	p.lab.tb.Helper()
	p.await("is in a call with "+user, `Media streams established with .*sip:`+user+`@`)
}

// AwaitEnded waits until its nth call, counted from 1, is over.
func (p *Linphone) AwaitEnded(n int) {
	p.lab.tb.Helper()
	p.await("call is over", fmt.Sprintf(`Call %d with .* (ended|failed)|Call %d .*error`, n, n))
}

func (p *Linphone) await(what, pattern string) {
	p.lab.tb.Helper()
	if _, err := p.AwaitLine(0, regexp.MustCompile(pattern), Patience); err != nil {
		p.lab.tb.Fatalf("linphone %s: %s: %v", p.User, what, err)
	}
}

// HasHeard waits until the phone's recording is a tone of hz, which is somebody's.
// It is written when the call is over.
func (p *Linphone) HasHeard(hz float64, whose string) {
	p.lab.tb.Helper()
	p.lab.Until(fmt.Sprintf("linphone %s has heard the %.0f Hz of %s", p.User, hz, whose), func() bool {
		share, _ := Heard(filepath.Join(p.dir, "heard.wav"), hz)
		return share > 0.8
	})
}
