// Package mix mixes one conversation: each phone hears all other phones and the
// participants that are loudest, and the conversation hears all phones. It has
// linear PCM only, 16 kHz, mono, in frames of 20 ms; no network and no codecs.
//
//	sources (participants)   O = the sum of those that are heard
//	phones                   A = the sum of what they say
//	the conversation hears   A
//	phone k hears            O + A - k, and what is played to it
//
// # Goroutines
//
// [Mixer.Run] is the clock, and the only goroutine: it owns all sound. Everybody
// else changes a snapshot of who is there, which the clock takes up with its next
// tick, so that nobody waits for it and it waits for nobody.
//
// # What is not heard
//
// A phone that is muted, one whose last 400 ms were below -55 dBFS (the noise of
// many lines adds up), and participants beyond [Config].Speakers. What they say
// meanwhile is dropped, not kept: nothing old is heard afterwards.
package mix
