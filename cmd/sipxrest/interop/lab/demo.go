package lab

import (
	"os"
	"os/exec"
	"path/filepath"
)

// Demo runs `sipxrest demo` with its options. It returns what the demo said, and the
// files that it has left.
func (l *Lab) Demo(options ...string) (out string, left []string, err error) {
	l.tb.Helper()
	dir := filepath.Join(l.Dir, "tmp")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", nil, err
	}
	cmd := exec.Command(build(l.tb), append([]string{"demo"}, options...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	text, err := cmd.CombinedOutput()
	left, _ = filepath.Glob(filepath.Join(dir, "*"))
	return string(text), left, err
}
