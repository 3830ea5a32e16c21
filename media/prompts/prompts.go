// Package prompts has what callers are told in words: built-in prompts in English
// and German, an operator's own recordings in their place, and tones where there is
// neither.
package prompts

// Names of the prompts. Which words they say is in prompts.txt.
const (
	Welcome          = "welcome"
	EnterMeeting     = "enter-meeting"
	EnterPIN         = "enter-pin"
	NoPIN            = "no-pin"
	Wrong            = "wrong"
	WrongPIN         = "wrong-pin"
	Again            = "again"
	Goodbye          = "goodbye"
	Joining          = "joining"
	Alone            = "alone"
	Lobby            = "lobby"
	NotStarted       = "not-started"
	Recording        = "recording"
	Muted            = "muted"
	Unmuted          = "unmuted"
	MutedByModerator = "muted-by-moderator"
	Ended            = "ended"
	Full             = "full"
	Encrypted        = "encrypted"
	Unavailable      = "unavailable"
	Help             = "help"
	Reconnecting     = "reconnecting"
)

// Set is the prompts of a service: those of a folder, and the built-in ones.
type Set struct{}

// Load reads the prompts of a folder, LANG/NAME.wav. An empty dir has the built-in
// ones only.
func Load(dir string) (*Set, error) { return &Set{}, nil }

// Languages are those that there are prompts for.
func (s *Set) Languages() []string { return nil }

// Clip is a prompt: 16 kHz, mono. What there is no prompt for is a tone, so that a
// caller always hears something. The samples are shared: they must not be changed.
func (s *Set) Clip(language, name string) []int16 { return nil }
