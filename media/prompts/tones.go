package prompts

import (
	"slices"
	"time"

	"sipxrest/media"
)

// toneLevel is that of tones, in decibels below full scale: as loud as speech.
const toneLevel = -15

// What is played where there are no words: a tone asks for digits, a low one twice says
// that something is wrong or over, and a short one that something has changed.
var (
	asks    = media.Tone(440, 300*time.Millisecond, toneLevel)
	refuses = slices.Concat(media.Tone(200, 200*time.Millisecond, toneLevel), media.Pause(100*time.Millisecond),
		media.Tone(200, 200*time.Millisecond, toneLevel))
	notes = media.Tone(440, 100*time.Millisecond, toneLevel)
)

// tone is what is played in place of a prompt.
func tone(name string) []int16 {
	switch name {
	case EnterMeeting, EnterPIN, NoPIN, Again, Recording:
		return asks
	case Wrong, WrongPIN, Goodbye, Ended, Full, Encrypted, Unavailable:
		return refuses
	}
	return notes
}
