package prompts

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wav is a WAV file of PCM, 16 bit, mono.
func wav(hz int, d time.Duration) []byte {
	n := int(d * time.Duration(hz) / time.Second)
	b := append([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"), make([]byte, 12)...)
	binary.LittleEndian.PutUint32(b[4:], uint32(36+2*n))
	binary.LittleEndian.PutUint32(b[24:], uint32(hz))
	binary.LittleEndian.PutUint32(b[28:], uint32(2*hz))
	binary.LittleEndian.PutUint16(b[32:], 2)
	binary.LittleEndian.PutUint16(b[34:], 16)
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), uint32(2*n))
	for i := range n {
		b = binary.LittleEndian.AppendUint16(b, uint16(5000*(i/20%2)))
	}
	return b
}

// folder writes files, by their names below it.
func folder(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOwnPromptsTakeThePlaceOfTheBuiltInOnes(t *testing.T) {
	files := map[string][]byte{"en/welcome.wav": wav(8000, time.Second), "en/README": []byte("recorded by Kim"), "LICENSE": nil,
		".git/config": nil}
	for _, name := range Names {
		files["fr/"+name+".wav"] = wav(48000, 2*time.Second)
	}
	s := mustLoad(t, folder(t, files))
	if got := strings.Join(s.Languages(), " "); got != "de en fr" {
		t.Errorf("languages %s", got)
	}
	if err := s.Check("fr"); err != nil {
		t.Error(err)
	}
	if got := strings.Join(s.Own("en"), " "); got != "welcome" || len(s.Own("fr")) != len(Names) || len(s.Own("de")) != 0 {
		t.Errorf("own %s, %v, %v", got, s.Own("fr"), s.Own("de"))
	}
	builtIn := mustLoad(t, "")
	for _, c := range []struct {
		language, name string
		want           time.Duration
	}{
		{"en", Welcome, time.Second}, {"fr", Goodbye, 2 * time.Second}, {"en", Goodbye, length(builtIn.Clip("en", Goodbye))},
		{"de", Welcome, length(builtIn.Clip("de", Welcome))},
	} {
		if d := length(s.Clip(c.language, c.name)); (d - c.want).Abs() > 20*time.Millisecond {
			t.Errorf("%s %s is %s long, want %s", c.language, c.name, d, c.want)
		}
	}
}

// A prompt that cannot be played is found at the start, and named.
func TestABadPromptIsNamed(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string][]byte
		want  string
	}{
		{"no WAV", map[string][]byte{"en/welcome.wav": []byte("ID3")}, "/en/welcome.wav: "},
		{"cut off", map[string][]byte{"en/welcome.wav": wav(16000, time.Second)[:50]}, "/en/welcome.wav: "},
		{"silence", map[string][]byte{"en/welcome.wav": wav(16000, 0)}, "/en/welcome.wav: "},
		{"endless", map[string][]byte{"en/welcome.wav": wav(8000, 61*time.Second)}, "/en/welcome.wav: longer than 1m0s"},
		{"huge", map[string][]byte{"en/welcome.wav": make([]byte, maxFile+1)}, "/en/welcome.wav: larger than 16 MiB"},
		{"a name that is none", map[string][]byte{"en/wellcome.wav": wav(16000, time.Second)},
			"/en/wellcome.wav: no prompt has this name: they are welcome,"},
		{"a language that lacks some", map[string][]byte{"fr/welcome.wav": wav(16000, time.Second)},
			"/fr: no prompts are built in for this language, and it lacks enter-meeting.wav, enter-pin.wav, "},
		{"no language", map[string][]byte{"Deutsch/welcome.wav": wav(16000, time.Second)},
			`/Deutsch: "Deutsch" is no language: name the folder as en, fr or pt-BR`},
		{"two", map[string][]byte{"en/welcome.wav": nil, "de/goodbye.wav": nil}, "/en/welcome.wav: "},
		{"two, the other", map[string][]byte{"en/welcome.wav": nil, "de/goodbye.wav": nil}, "/de/goodbye.wav: "},
		{"files at the top", map[string][]byte{"welcome.wav": wav(16000, time.Second)},
			": there is no folder of a language in it, such as en or fr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Load(folder(t, c.files)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "nowhere")); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("%v", err)
	}
}
