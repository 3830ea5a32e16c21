package lab

import "path/filepath"

// Prompts writes a folder of prompts, of which each is a tone of 2 s, and returns its
// path: the frequencies are by language and name, "en/enter-pin".
func (l *Lab) Prompts(tones map[string]float64) string {
	l.tb.Helper()
	for name, hz := range tones {
		l.write(filepath.Join("prompts", name+".wav"), string(tone(hz, 2, sampleRate)))
	}
	return filepath.Join(l.Dir, "prompts")
}
