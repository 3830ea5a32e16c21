//go:build interop

package interop

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// tests ends what all of them share before anybody looks for goroutines.
type tests struct{ *testing.M }

func (t tests) Run() int {
	code := t.M.Run()
	if err := lab.CloseChromium(); err != nil {
		fmt.Fprintln(os.Stderr, "chromium:", err)
		code = max(code, 1)
	}
	return code
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(tests{m}, goleak.Cleanup(func(code int) {
		lab.Clean()
		os.Exit(code)
	}))
}
