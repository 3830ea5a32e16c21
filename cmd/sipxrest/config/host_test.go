package config

import (
	"path/filepath"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
)

func TestAFaultyKernelLimitIsExplained(t *testing.T) {
	dir := t.TempDir()
	if got := receiveBufferWarning(apptest.Write(t, dir, "small", "212992\n")); !strings.Contains(got, "sysctl -w net.core.rmem_max=4194304") {
		t.Errorf("got %q", got)
	}
	for _, name := range []string{apptest.Write(t, dir, "large", "4194304\n"), apptest.Write(t, dir, "odd", "?"),
		filepath.Join(dir, "missing")} {
		if got := receiveBufferWarning(name); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
