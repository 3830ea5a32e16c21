package prompts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"sipxrest/media"
)

const (
	maxFile   = 16 << 20    // bytes of a file
	maxLength = time.Minute // of a prompt
	rate      = 16000       // samples a second
)

// languageTag is how a folder is named: de, pt-BR (RFC 5646, in short).
var languageTag = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)

// Load reads the prompts of a folder, LANG/NAME.wav. What it has not is built in. An
// empty dir has the built-in ones only. The errors name each file that is no good.
func Load(dir string) (*Set, error) {
	s := &Set{own: map[clip][]int16{}}
	if dir == "" {
		return s, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var errs []error
	languages := 0
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err != nil || !info.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		languages++
		errs = append(errs, s.read(dir, e.Name()))
	}
	if languages == 0 {
		errs = append(errs, fmt.Errorf("%s: there is no folder of a language in it, such as en or fr", dir))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// read reads the folder of one language.
func (s *Set) read(dir, language string) error {
	folder := filepath.Join(dir, language)
	if !languageTag.MatchString(language) {
		return fmt.Errorf("%s: %q is no language: name the folder as en, fr or pt-BR", folder, language)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".wav")
		if !ok || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		file := filepath.Join(folder, e.Name())
		if !slices.Contains(Names, name) {
			errs = append(errs, fmt.Errorf("%s: no prompt has this name: they are %s", file, strings.Join(Names, ", ")))
			continue
		}
		pcm, err := readFile(file)
		if err != nil {
			errs = append(errs, err)
		}
		s.own[clip{language, name}] = pcm
	}
	if !slices.Contains(builtInLanguages, language) {
		lacking := slices.DeleteFunc(slices.Clone(Names), func(name string) bool { _, ok := s.own[clip{language, name}]; return ok })
		if len(lacking) > 0 {
			errs = append(errs, fmt.Errorf("%s: no prompts are built in for this language, and it lacks %s.wav", folder, strings.Join(lacking, ".wav, ")))
		}
	}
	return errors.Join(errs...)
}

// readFile reads one prompt.
func readFile(file string) ([]int16, error) {
	switch info, err := os.Stat(file); { // before it is opened: a pipe would wait for ever
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: it is no file", file)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s: larger than %d MiB", file, maxFile>>20)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pcm, err := media.ReadWAV(io.LimitReader(f, maxFile))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", file, err)
	case len(pcm) == 0:
		return nil, fmt.Errorf("%s: it has no sound", file)
	case len(pcm) > int(maxLength/time.Second)*rate:
		return nil, fmt.Errorf("%s: longer than %s", file, maxLength)
	}
	return pcm, nil
}
