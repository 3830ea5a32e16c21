// Package mix mixes one conversation: each phone hears all others and the
// participants, and the conversation hears all phones. It has linear PCM only,
// 16 kHz, mono, in frames of 20 ms; no network.
package mix
