package lab

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// PhoneConfig says how a phone behaves.
type PhoneConfig struct {
	// Manual lets the phone ring until told to answer or hang up; otherwise it
	// answers by itself.
	Manual bool
	// Name tells two phones of one user apart; default the user.
	Name string
	// AnswerDelay is how long it rings before it answers.
	AnswerDelay time.Duration
	// MaxCalls is how many calls it takes at once before it answers 486 Busy
	// Here; default 4.
	MaxCalls int
	// Tone is the frequency in Hz that it sends as audio; default 400 Hz for
	// 200, 10 Hz more for each number above.
	Tone float64
	// G722 makes it speak G.722 and nothing else; otherwise it is G.711.
	G722 bool
	// Codec is the only one of G.711's that it speaks: PCMA or PCMU. Empty: both.
	Codec string
	// Encryption is what it encrypts audio by: "srtp" if the other side does,
	// "srtp-mand" always. Default: not at all.
	Encryption string
	// NoJitterBuffer is for a PBX that has audio come from another source in the middle
	// of a call: baresip 1.0 may drop it all then, for it looks old to its buffer.
	NoJitterBuffer bool
	// TCP makes it register and call over TCP.
	TCP bool
}

// Phone is a baresip with one account, registered at the lab's proxy.
type Phone struct {
	*Process
	// User is the account's user part.
	User string
	// Tone is the frequency of its audio in Hz.
	Tone float64

	lab  *Lab
	dir  string
	ctrl *control
}

// The configuration of baresip 1.0. What was learned:
//   - without module_app menu.so a REFER is accepted and then ignored: menu
//     places the call;
//   - stdio.so must not be loaded: it fails on anything but a terminal;
//   - sip_listen takes the port and, for TLS, the next one;
//   - net_interface 127.0.0.1 (the name lo is refused), or else its SDP names the
//     machine's first real address;
//   - account.so is a module_tmp: loaded, read and unloaded, after which the
//     accounts file is not needed any more;
//   - aufile as a source ends the audio at the end of file: the file must be
//     longer than the test's calls;
//   - aufile is a source only in 1.0 (no recording player), but sndfile writes
//     what it sends and hears to dump-*-enc.wav and dump-*-dec.wav;
//   - ringing plays audio_alert's device: without a file it would open ALSA.
const baresipConfig = `poll_method		epoll
sip_listen		127.0.0.1:%[1]d
net_interface		127.0.0.1
call_local_timeout	120
call_max_calls		%[2]d
audio_source		aufile,%[3]s/tone.wav
audio_alert		aufile,%[3]s/alert.wav
audio_path		%[3]s
ausrc_format		s16
auplay_format		s16
auenc_format		s16
audec_format		s16
audio_buffer		20-160
rtp_ports		%[4]d-%[5]d
rtp_stats		yes
jitter_buffer_delay	5-10
module_path		%[6]s
module			%[8]s.so
module			aufile.so
module			sndfile.so
snd_path		%[3]s
module_tmp		account.so
module_app		menu.so
module_app		ctrl_tcp.so
ctrl_tcp_listen		127.0.0.1:%[7]d
statmode_default	on
menu_bell		no
%[9]sringback_disabled	yes
`

// Phone starts a phone for user and waits until it is registered.
func (l *Lab) Phone(user string, c PhoneConfig) *Phone {
	l.tb.Helper()
	name := cmp.Or(c.Name, user)
	p := &Phone{User: user, Tone: c.Tone, lab: l, dir: filepath.Join(l.Dir, name)}
	if p.Tone == 0 {
		p.Tone = 400
		if n, err := strconv.Atoi(user); err == nil {
			p.Tone += 10 * float64(n-200)
		}
	}
	if c.MaxCalls == 0 {
		c.MaxCalls = 4
	}
	sip, ctrl, rtp := Ports(l.tb, 2), Ports(l.tb, 1), Ports(l.tb, 20)
	codec, rate := "g711", sampleRate
	if c.G722 {
		codec, rate = "g722", 2*sampleRate
	}
	more := ""
	if c.Encryption != "" {
		more = "module			srtp.so\n"
	}
	config := fmt.Sprintf(baresipConfig, sip, c.MaxCalls, p.dir, rtp, rtp+19, modulePath(l.tb), ctrl, codec, more)
	if c.NoJitterBuffer {
		config = strings.Replace(config, "jitter_buffer_delay	5-10", "jitter_buffer_delay	0-0", 1)
	}
	l.write(name+"/config", config)
	l.write(name+"/accounts", account(user, l.Proxy.Addr, c))
	l.write(name+"/contacts", "")
	l.write(name+"/tone.wav", string(tone(p.Tone, 120, rate)))
	l.write(name+"/alert.wav", string(tone(440, 1, rate)))

	p.Process = start(l.tb, "phone"+name, l.Dir, "baresip", "-4", "-s", "-f", p.dir)
	if _, err := p.AwaitLine(0, regexp.MustCompile(`^baresip is ready`), Patience); err != nil {
		l.tb.Fatal(err)
	}
	var err error
	if p.ctrl, err = dialControl(net.JoinHostPort("127.0.0.1", strconv.Itoa(ctrl))); err != nil {
		l.tb.Fatalf("phone %s: %v", user, err)
	}
	l.tb.Cleanup(p.ctrl.close)
	if _, err := p.AwaitLine(0, regexp.MustCompile(`\{0/(UDP|TCP)/v4\} 200 `), Patience); err != nil {
		l.tb.Fatalf("phone %s does not register: %v", user, err)
	}
	return p
}

func account(user, proxy string, c PhoneConfig) string {
	transport, mode := "udp", "auto"
	if c.TCP {
		transport = "tcp"
	}
	if c.Manual {
		mode = "manual"
	}
	line := fmt.Sprintf("<sip:%s@%s;transport=%s>;auth_user=%s;auth_pass=%s;outbound=\"sip:%s;transport=%s\";answermode=%s;regint=120;catchall=yes",
		user, Domain, transport, user, Password, proxy, transport, mode)
	if c.Codec != "" {
		line += ";audio_codecs=" + c.Codec + "/8000/1"
	}
	if c.AnswerDelay > 0 {
		line += fmt.Sprintf(";answerdelay=%d", c.AnswerDelay.Milliseconds())
	}
	if c.Encryption != "" {
		line += ";mediaenc=" + c.Encryption
	}
	return line + "\n"
}

func modulePath(tb testing.TB) string {
	tb.Helper()
	found, _ := filepath.Glob("/usr/lib*/baresip/modules")
	more, _ := filepath.Glob("/usr/lib/*/baresip/modules")
	for _, dir := range append(found, more...) {
		if _, err := os.Stat(dir + "/aufile.so"); err == nil {
			return dir
		}
	}
	tb.Fatal("baresip's modules not found under /usr/lib: install baresip-core (`make setup`)")
	return ""
}

// Dial makes the phone call user.
func (p *Phone) Dial(user string) {
	p.lab.tb.Helper()
	p.command("dial", "sip:"+user+"@"+Domain)
}

// Answer takes the call that rings.
func (p *Phone) Answer() { p.lab.tb.Helper(); p.command("accept", "") }

// HangUp ends the current call; a call that rings is refused with 486.
func (p *Phone) HangUp() { p.lab.tb.Helper(); p.command("hangup", "") }

// HangUpCall ends one call of several.
func (p *Phone) HangUpCall(id string) {
	p.lab.tb.Helper()
	p.command("callfind", id)
	p.HangUp()
}

// Hold puts the current call on hold, Resume takes it back.
func (p *Phone) Hold()   { p.lab.tb.Helper(); p.command("hold", "") }
func (p *Phone) Resume() { p.lab.tb.Helper(); p.command("resume", "") }

// Press sends digits as telephone events (RFC 4733), one after the other.
func (p *Phone) Press(digits string) {
	p.lab.tb.Helper()
	for _, digit := range digits {
		p.command("sndcode", string(digit))
	}
}

// Digits are those that have come as telephone events (RFC 4733), of all its calls.
func (p *Phone) Digits() string { return p.ctrl.pressed() }

// Transfer refers the other side of the current call to user.
func (p *Phone) Transfer(user string) {
	p.lab.tb.Helper()
	p.command("transfer", "sip:"+user+"@"+Domain)
}

func (p *Phone) command(name, params string) {
	p.lab.tb.Helper()
	if err := p.ctrl.command(name, params); err != nil {
		p.lab.tb.Fatalf("phone %s: %s: %v", p.User, name, err)
	}
}

// Call is a call as the phone tells it.
type Call struct {
	// ID is the SIP Call-ID.
	ID string
	// Peer is the other side's URI.
	Peer string
	// Outgoing is true when the phone placed it.
	Outgoing bool
	// State is "incoming" (it rings), "outgoing", "ringing" (the far end
	// rings), "established" or "closed".
	State string
	// Reason is why it was closed.
	Reason string
}

// Calls returns all calls since the phone was started, oldest first.
func (p *Phone) Calls() []Call {
	// The response comes after the events of all that the phone has done before.
	p.ctrl.command("listcalls", "")
	return p.ctrl.calls()
}

// Await waits until the phone has a call that fits, and returns it.
func (p *Phone) Await(what string, fits func(Call) bool) Call {
	p.lab.tb.Helper()
	var found Call
	err := p.ctrl.await(Patience, func(calls []Call) bool {
		i := slices.IndexFunc(calls, fits)
		if i >= 0 {
			found = calls[i]
		}
		return i >= 0
	})
	if err != nil {
		p.lab.tb.Fatalf("phone %s: %s: %v; its calls: %+v", p.User, what, err, p.Calls())
	}
	return found
}

// AwaitRinging waits until a call rings at the phone.
func (p *Phone) AwaitRinging() Call {
	p.lab.tb.Helper()
	return p.Await("rings", func(c Call) bool { return c.State == "incoming" })
}

// AwaitNthCall waits until the phone has had more than n calls and returns
// number n, counted from 0.
func (p *Phone) AwaitNthCall(n int) Call {
	p.lab.tb.Helper()
	var call Call
	err := p.ctrl.await(Patience, func(calls []Call) bool {
		if len(calls) > n {
			call = calls[n]
		}
		return len(calls) > n
	})
	if err != nil {
		p.lab.tb.Fatalf("phone %s: call number %d: %v; its calls: %+v", p.User, n, err, p.Calls())
	}
	return call
}

// AwaitInCallWith waits until the phone talks to user.
func (p *Phone) AwaitInCallWith(user string) Call {
	p.lab.tb.Helper()
	return p.Await("is in a call with "+user, func(c Call) bool {
		return c.State == "established" && strings.HasPrefix(c.Peer, "sip:"+user+"@")
	})
}

// AwaitClosed waits until the call is over.
func (p *Phone) AwaitClosed(id string) Call {
	p.lab.tb.Helper()
	return p.Await("call "+id+" is over", func(c Call) bool { return c.ID == id && c.State == "closed" })
}

// AwaitOnHook waits until the phone has no call.
func (p *Phone) AwaitOnHook() {
	p.lab.tb.Helper()
	p.Calls() // or else a call that has begun might not be known yet
	err := p.ctrl.await(Patience, func(calls []Call) bool {
		return !slices.ContainsFunc(calls, func(c Call) bool { return c.State != "closed" })
	})
	if err != nil {
		p.lab.tb.Fatalf("phone %s is off-hook: %v; its calls: %+v", p.User, err, p.Calls())
	}
}

// "[0:00:03] audio=64000/64000 (bit/s)": what it sends and receives now.
var bitRate = regexp.MustCompile(`audio=(\d+)/(\d+)`)

// AwaitAudio waits until the phone says that audio flows in both directions.
func (p *Phone) AwaitAudio() {
	p.lab.tb.Helper()
	p.awaitRates("audio both ways", func(sent, received int) bool { return sent > 32000 && received > 32000 }) // G.711 is 64000
}

// AwaitTalk waits until audio has flowed in both directions for some seconds:
// the phone says so about once a second.
func (p *Phone) AwaitTalk() {
	p.lab.tb.Helper()
	for range 4 {
		p.AwaitAudio()
	}
}

// AwaitNothingHeard waits until the phone says that no audio comes.
func (p *Phone) AwaitNothingHeard() {
	p.lab.tb.Helper()
	p.awaitRates("silence", func(_, received int) bool { return received == 0 })
}

// AwaitSilence waits until the phone says that hardly any audio comes: silence that
// lasts is a packet a second.
func (p *Phone) AwaitSilence() {
	p.lab.tb.Helper()
	p.awaitRates("silence", func(_, received int) bool { return received < 3000 })
}

func (p *Phone) awaitRates(what string, ok func(sent, received int) bool) {
	p.lab.tb.Helper()
	deadline := time.Now().Add(Patience)
	for from := p.Mark(); ; {
		m, err := p.AwaitLine(from, bitRate, time.Until(deadline))
		if err != nil {
			p.lab.tb.Fatalf("phone %s: no %s: %v", p.User, what, err)
		}
		sent, _ := strconv.Atoi(m[1])
		received, _ := strconv.Atoi(m[2])
		if ok(sent, received) {
			return
		}
		from = p.Mark()
	}
}

// AwaitHears waits until one of the phone's recordings is the tone that other
// sends.
func (p *Phone) AwaitHears(other *Phone) {
	p.lab.tb.Helper()
	p.AwaitTone(other.Tone, other.User)
}

// AwaitTone waits until one of the phone's recordings is a tone of hz, which is
// somebody's.
func (p *Phone) AwaitTone(hz float64, whose string) {
	p.lab.tb.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(Patience); ; <-tick.C {
		share, err := p.heard(hz)
		if share > 0.8 {
			return
		}
		if time.Now().After(deadline) {
			p.lab.tb.Fatalf("phone %s does not hear the %.0f Hz of %s: share %.2f, %v", p.User, hz, whose, share, err)
		}
	}
}

// AwaitSounds waits until the newest of the phone's recordings has these tones now,
// and none of the others. No tone: silence, as far as it goes.
func (p *Phone) AwaitSounds(tones []float64, without ...float64) {
	p.lab.tb.Helper()
	p.AwaitSoundsIn(Patience, tones, without...)
}

// AwaitSoundsIn is AwaitSounds with a patience of its own.
func (p *Phone) AwaitSoundsIn(patience time.Duration, tones []float64, without ...float64) {
	p.lab.tb.Helper()
	var is, isNot []float64
	var err error
	p.lab.untilIn(patience, 100*time.Millisecond, func() string {
		return fmt.Sprintf("phone %s hears %v Hz at %.0f dB and %v Hz at %.0f dB: the first ones should be heard, the others not: %v",
			p.User, tones, is, without, isNot, err)
	}, func() bool {
		if is, err = p.levels(tones); err == nil {
			isNot, err = p.levels(without)
		}
		return err == nil && !slices.ContainsFunc(is, func(db float64) bool { return db < heardAt }) &&
			!slices.ContainsFunc(isNot, func(db float64) bool { return db > notHeardAt })
	})
}

// Levels in dBFS: the phones' tones have -12, and what leaks of one into a recording
// of another one is far below that.
const heardAt, notHeardAt = -30, -50

func (p *Phone) levels(tones []float64) ([]float64, error) {
	files, _ := filepath.Glob(filepath.Join(p.dir, "dump-*-dec.wav"))
	newest, at := "", time.Time{}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && info.ModTime().After(at) {
			newest, at = file, info.ModTime()
		}
	}
	if newest == "" {
		return nil, errors.New("nothing recorded")
	}
	return Levels(newest, tones...)
}

// heard is the largest share of hz in any of the phone's recordings. There is
// one for each call that had audio.
func (p *Phone) heard(hz float64) (best float64, err error) {
	files, _ := filepath.Glob(filepath.Join(p.dir, "dump-*-dec.wav"))
	err = errors.New("nothing recorded")
	for _, file := range files {
		var share float64
		if share, err = Heard(file, hz); share > best {
			best = share
		}
	}
	return best, err
}
