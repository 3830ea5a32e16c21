package prompts

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustLoad(t *testing.T, dir string) *Set {
	t.Helper()
	s, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func length(pcm []int16) time.Duration { return time.Duration(len(pcm)) * time.Second / rate }

// level is how loud the sound is, in decibels below full scale.
func level(pcm []int16) float64 {
	sum := 0.0
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return 10 * math.Log10(sum/float64(len(pcm))/math.MaxInt16/math.MaxInt16)
}

// Each built-in prompt can be heard, and is over in 8 s.
func TestEveryPromptDecodes(t *testing.T) {
	s := mustLoad(t, "")
	for _, language := range s.Languages() {
		for _, name := range Names {
			pcm := s.Clip(language, name)
			switch d, l := length(pcm), level(pcm); {
			case d < 500*time.Millisecond || d >= 8*time.Second:
				t.Errorf("%s %s is %s long", language, name, d)
			case l < -28 || l > -14:
				t.Errorf("%s %s has %.0f dBFS", language, name, l)
			case slices.Max(pcm) == math.MaxInt16:
				t.Errorf("%s %s is clipped", language, name)
			}
			if again := s.Clip(language, name); &again[0] != &pcm[0] {
				t.Errorf("%s %s is decoded each time", language, name)
			}
		}
	}
}

// What is spoken is written down, and all that is written down is spoken.
func TestThePromptsAreThoseOfTheText(t *testing.T) {
	text, err := os.ReadFile("prompts.txt")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) != 4 || fields[3] == "" {
			t.Fatalf("%q: want language|voice|name|text", line)
		}
		written[fields[0]] = append(written[fields[0]], fields[2])
	}
	total := 0
	for _, language := range builtInLanguages {
		want := slices.Sorted(slices.Values(Names))
		if got := slices.Sorted(slices.Values(written[language])); !slices.Equal(got, want) {
			t.Errorf("%s: written are %v, want %v", language, got, want)
		}
		files, err := fs.ReadDir(builtIn, language)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				t.Fatal(err)
			}
			total += int(info.Size())
			got = append(got, strings.TrimSuffix(f.Name(), ".g722"))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: spoken are %v, want %v", language, got, want)
		}
	}
	if len(written) != len(builtInLanguages) || total > 1200<<10 {
		t.Errorf("%d languages, %d bytes", len(written), total)
	}
}

// No prompt can be missing: there is always a tone.
func TestWhatThereIsNoPromptForIsATone(t *testing.T) {
	s := mustLoad(t, "")
	for _, language := range []string{Tones, "xx", ""} {
		for _, name := range append(slices.Clone(Names), "no-such-prompt") {
			if pcm := s.Clip(language, name); length(pcm) < 100*time.Millisecond || level(pcm) < -30 {
				t.Errorf("%q %s: %s", language, name, length(pcm))
			}
		}
		enter, wrong := s.Clip(language, EnterPIN), s.Clip(language, WrongPIN)
		if length(enter) != 300*time.Millisecond || length(wrong) != 500*time.Millisecond {
			t.Errorf("%q: %s to enter, %s when it is wrong", language, length(enter), length(wrong))
		}
	}
	if en := s.In(""); length(en(EnterPIN)) < time.Second {
		t.Error("no language is none that is spoken")
	}
}

func TestLanguages(t *testing.T) {
	s := mustLoad(t, "")
	for _, language := range []string{"en", "de", Tones} {
		if err := s.Check(language); err != nil {
			t.Error(err)
		}
	}
	const want = `there are no prompts in "fr", only in de, en, tones: a folder of prompts may have more`
	if err := s.Check("fr"); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if own := s.Own("en"); len(own) != 0 {
		t.Errorf("%v are of a folder", own)
	}
}

// docs/dialin.md names each prompt that may be recorded anew, with its words.
func TestThePageHasEveryPrompt(t *testing.T) {
	text, err := os.ReadFile("prompts.txt")
	page, pageErr := os.ReadFile("../../docs/dialin.md")
	if err := errors.Join(err, pageErr); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimSpace(line), "|"); f[0] == "en" {
			fmt.Fprintf(&rows, "| `%s` | %s |\n", f[2], f[3])
		}
	}
	if rows.Len() == 0 || !strings.Contains(string(page), "\n"+rows.String()) {
		t.Errorf("docs/dialin.md lacks the table\n%s", &rows)
	}
}
