//go:build unix

package prompts

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A pipe would have the start wait for ever.
func TestAPipeIsNoPrompt(t *testing.T) {
	dir := folder(t, map[string][]byte{"en/welcome.wav": wav(16000, time.Second)})
	file := filepath.Join(dir, "en", "goodbye.wav")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Skip("this file system has no pipes: set TMPDIR to a folder of one that has: ", err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), file+": it is no file") {
		t.Errorf("%v", err)
	}
}
