package lab

import (
	"path/filepath"
	"time"
)

// Prompts writes a folder of prompts, of which each is a tone of 2 s, and returns its
// path: the frequencies are by language and name, "en/enter-pin".
func (l *Lab) Prompts(tones map[string]float64) string {
	l.tb.Helper()
	for name, hz := range tones {
		l.write(filepath.Join("prompts", name+".wav"), string(tone(hz, 2, sampleRate)))
	}
	return filepath.Join(l.Dir, "prompts")
}

// Press has the phone send digits by RFC 4733, one after the other.
func (p *Phone) Press(keys string) {
	p.lab.tb.Helper()
	for _, key := range keys {
		p.command("sndcode", string(key))
		time.Sleep(250 * time.Millisecond) // a key is not pressed longer
	}
}
