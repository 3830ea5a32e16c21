//go:build interop

package interop

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"sipxrest/cmd/sipxrest/interop/lab"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		lab.Clean()
		os.Exit(code)
	}))
}
