package event

import (
	"encoding/json"
	"strings"
	"testing"
)

// That all tags are taken away is kept, too: who reads the log sees the call as others
// have seen it.
func TestTagsThatAreTakenAwayAreKept(t *testing.T) {
	data, err := json.Marshal(&Change{Tags: map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	var read Change
	if err := json.Unmarshal(data, &read); err != nil || read.Tags == nil {
		t.Errorf("%s: %v, %v", data, read.Tags, err)
	}
	if data, _ := json.Marshal(&Change{}); strings.Contains(string(data), "tags") {
		t.Errorf("%s", data)
	}
}
