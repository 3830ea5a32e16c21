package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sipxrest/dialin"
	"sipxrest/internal/setting"
	"sipxrest/media"
	"sipxrest/media/prompts"
)

// Dialin is the section "dialin": callers into conversations of Nextcloud Talk, by the
// targets talk: of dispatch.
type Dialin struct {
	// Language is in what language callers are spoken to whose rule names none.
	Language string
	// Prompts is a folder with recordings in place of the built-in prompts, Music a WAV
	// file for whoever waits. Empty: none.
	Prompts, Music string
	Tries          int
	Time, Pause    time.Duration
	Wait           time.Duration
	StartCalls     string
	Consent        string
	AllowUnmute    bool
	Calls          int
}

// rows are the keys of the section.
func (d *Dialin) rows() []row {
	return []row{
		{Name: "dialin.language", Set: setting.Text(&d.Language), Default: "en",
			Doc:   "in what language callers into Talk conversations are spoken to: `en`, `de`, or a folder of `dialin.prompts`; a rule's `language` goes first. See [dialin.md](dialin.md), as for all of `dialin`",
			About: "In what language callers are spoken to: en, de, or a folder of prompts."},
		{Name: "dialin.prompts", Set: setting.Path(&d.Prompts), Show: "prompts",
			Doc:   "folder with recordings in place of the built-in prompts, `LANGUAGE/NAME.wav`: PCM with 16 bits, mono or stereo, 8, 16, 32, 44.1 or 48 kHz",
			About: "Recordings in place of the built-in prompts, LANGUAGE/NAME.wav."},
		{Name: "dialin.music", Set: setting.Path(&d.Music), Show: "music.wav",
			Doc: "WAV file that is played to whoever waits, or is alone; silence without"},
		{Name: "dialin.tries", Set: setting.Number(&d.Tries), Check: count(10), Default: "3",
			Doc:   "how often a caller may enter what is asked for",
			About: "Digits: how often, how long for all, and the pause that ends an entry."},
		{Name: "dialin.time", Set: setting.Duration(&d.Time), Check: between(10*time.Second, 10*time.Minute), Default: "1m",
			Doc: "how long that may take, all together; 10 s to 10 min"},
		{Name: "dialin.pause", Set: setting.Duration(&d.Pause), Check: between(time.Second, 30*time.Second), Default: "5s",
			Doc: "the pause that ends an entry without `#`; 1 s to 30 s"},
		{Name: "dialin.wait", Set: setting.Duration(&d.Wait), Check: between(time.Minute, 24*time.Hour), Default: "30m",
			Doc:   "how long a caller may be in the lobby, wait for the call to begin, or be alone in it; 1 min to 24 h",
			About: "How long one may be in the lobby, wait for the call to begin, or be alone."},
		{Name: "dialin.start-calls", Set: setting.Text(&d.StartCalls), Check: word(string(dialin.StartAll), string(dialin.StartMembers), string(dialin.StartNone)), Default: "members",
			Doc:   "who may begin a call by phone: `members`, who have a PIN, `all` or `none`. Nextcloud's own permissions hold as well",
			About: "Who may begin a call by phone: all, members (who have a PIN) or none."},
		{Name: "dialin.consent", Set: setting.Text(&d.Consent), Check: word(string(dialin.ConsentAsk), string(dialin.ConsentRefuse)), Default: "ask",
			Doc:   "callers to a recorded conversation are asked to agree; `refuse`: there are no phones in it",
			About: "Before a recorded call: ask, or refuse phones."},
		{Name: "dialin.allow-unmute", Set: setting.Truth(&d.AllowUnmute), Default: "true",
			Doc:   "whom a moderator has muted may speak again by `*6`; `false`: not before the moderator lets him",
			About: "Whom a moderator has muted speaks again by *6."},
		{Name: "dialin.calls", Set: setting.Number(&d.Calls), Check: count(100_000), Default: "50",
			Doc:   "callers who are being asked for digits at once",
			About: "Callers who are being asked for digits at once."},
	}
}

// DialinKeys are the names of the section's keys.
func DialinKeys() (names []string) {
	for _, r := range new(Dialin).rows() {
		names = append(names, r.Name)
	}
	return names
}

// HasDialin reports whether callers can be taken to Talk: there is one, and telephones
// take part in its conversations by their audio.
func (c *Config) HasDialin() bool { return len(c.Dialout.Servers) > 0 && c.Dialout.Audio.Enabled }

// DialinConfig is the section as its package wants it, without the music.
func (c *Config) DialinConfig() dialin.Config {
	d := &c.Dialin
	return dialin.Config{Language: d.Language, Tries: d.Tries, Time: d.Time, Pause: d.Pause, Wait: d.Wait, StartCalls: dialin.StartCalls(d.StartCalls),
		Consent: dialin.Consent(d.Consent), AllowUnmute: d.AllowUnmute, Calls: d.Calls, RoomPhones: c.Dialout.Limits.Room}
}

// Clips are the prompts of the section. Errors name the file.
func (d *Dialin) Clips() (*prompts.Set, error) { return prompts.Load(d.Prompts) }

// Sound is the music of the section, nil without.
func (d *Dialin) Sound() ([]int16, error) {
	if d.Music == "" {
		return nil, nil
	}
	f, err := os.Open(d.Music)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pcm, err := media.ReadWAV(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Music, err)
	}
	return pcm, nil
}

// CheckTalk is that of dispatch.Config; nil where callers cannot be taken to Talk.
func (c *Config) CheckTalk() func(backend, language string) error {
	if !c.HasDialin() {
		return nil
	}
	var clouds []string
	for _, s := range c.Dialout.Servers {
		for _, b := range s.Backends {
			if !slices.ContainsFunc(clouds, func(url string) bool { return dialin.SameBackend(url, b.URL) }) {
				clouds = append(clouds, b.URL)
			}
		}
	}
	set, wrong := c.Dialin.Clips() // what is wrong with them is said of their key
	return func(backend, language string) error {
		switch {
		case backend == "" && len(clouds) > 1:
			return fmt.Errorf("backend: missing: name the Nextcloud, one of %s", strings.Join(clouds, ", "))
		case backend != "" && !slices.ContainsFunc(clouds, func(url string) bool { return dialin.SameBackend(url, backend) }):
			return fmt.Errorf("backend: %.200q is no Nextcloud of dialout.servers: write one of %s", backend, strings.Join(clouds, ", "))
		case language != "" && wrong == nil:
			if err := set.Check(language); err != nil {
				return fmt.Errorf("language: %w", err)
			}
		}
		return nil
	}
}

// dialin checks the section.
func (v *checks) dialin() {
	d := &v.c.Dialin
	for _, r := range d.rows() {
		if v.c.IsSet(r.Name) && !v.c.HasDialin() {
			v.check(r.Name, errors.New("nobody can call into Talk: write dialout.servers and dialout.audio, too"))
			return
		}
	}
	if !v.c.HasDialin() {
		return
	}
	set, err := d.Clips()
	if err != nil {
		v.check("dialin.prompts", err)
	} else {
		v.check("dialin.language", set.Check(d.Language))
	}
	if _, err := d.Sound(); err != nil {
		v.check("dialin.music", err)
	}
}
