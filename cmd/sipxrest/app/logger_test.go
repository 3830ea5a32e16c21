package app

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/config"
)

func TestBothLogFormatsWriteDurationsForPeople(t *testing.T) {
	for format, want := range map[string]string{"text": "drain=1m30s", "json": `"drain":"1m30s"`} {
		var b bytes.Buffer
		Logger(config.Log{Level: "info", Format: format}, &b).Info("shutting down", "drain", 90*time.Second)
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}
