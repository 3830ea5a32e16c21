// Package prompts has what callers are told in words: built-in prompts in English
// and German, an operator's own recordings in their place, and tones where there is
// neither. So no prompt can be missing.
//
// The built-in ones are prompts.txt as espeak-ng speaks it, which `make prompts` does.
// They are checked in as G.722, and decoded when they are first played.
package prompts

import (
	"cmp"
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"sipxrest/media"
)

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

// Names are those of all prompts. A language without built-in ones has them all.
var Names = []string{
	Welcome, EnterMeeting, EnterPIN, NoPIN, Wrong, WrongPIN, Again, Goodbye, Joining, Alone, Lobby, NotStarted, Recording,
	Muted, Unmuted, MutedByModerator, Ended, Full, Encrypted, Unavailable, Help, Reconnecting,
}

// Tones is the language of those who want tones in place of words.
const Tones = "tones"

//go:embed en/*.g722 de/*.g722
var builtIn embed.FS

// builtInLanguages are those that the program speaks by itself.
var builtInLanguages = []string{"de", "en"}

// clip is one prompt of one language.
type clip struct{ language, name string }

// Set is the prompts of a service: those of a folder, and the built-in ones. It is safe
// for concurrent use.
type Set struct {
	own map[clip][]int16 // of the folder; not changed after Load

	mu      sync.Mutex
	decoded map[clip][]int16 // built-in ones and tones that have been played
}

// Languages are those that there are prompts for, in alphabetical order. Tones is none
// of them.
func (s *Set) Languages() []string {
	list := slices.Clone(builtInLanguages)
	for c := range s.own {
		list = append(list, c.language)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Check returns an error that says which languages there are, unless language is one of
// them or Tones.
func (s *Set) Check(language string) error {
	known := append(s.Languages(), Tones)
	if slices.Contains(known, language) {
		return nil
	}
	return fmt.Errorf("there are no prompts in %.20q, only in %s: a folder of prompts may have more", language, strings.Join(known, ", "))
}

// Own are the prompts of a language that are of the folder. The others are built in.
func (s *Set) Own(language string) (names []string) {
	for _, name := range Names {
		if _, ok := s.own[clip{language, name}]; ok {
			names = append(names, name)
		}
	}
	return names
}

// Clip is a prompt: 16 kHz, mono. What there is no prompt for is a tone, so that a
// caller always hears something. The samples are shared: they must not be changed.
func (s *Set) Clip(language, name string) []int16 {
	if pcm, ok := s.own[clip{language, name}]; ok {
		return pcm
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pcm, ok := s.decoded[clip{language, name}]
	if ok {
		return pcm
	}
	recording, err := builtIn.ReadFile(language + "/" + name + ".g722")
	if err != nil {
		return tone(name)
	}
	pcm = media.DecodeG722(recording)
	if s.decoded == nil {
		s.decoded = map[clip][]int16{}
	}
	s.decoded[clip{language, name}] = pcm
	return pcm
}

// In returns Clip of one language, en if that is empty.
func (s *Set) In(language string) func(name string) []int16 {
	language = cmp.Or(language, "en")
	return func(name string) []int16 { return s.Clip(language, name) }
}
