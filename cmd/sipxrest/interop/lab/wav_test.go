package lab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHeardTellsTonesApart(t *testing.T) {
	file := func(data []byte) string {
		path := filepath.Join(t.TempDir(), "heard.wav")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	late := tone(420, 2, sampleRate)
	clear(late[44 : len(late)/2]) // silence, then the tone
	for _, test := range []struct {
		name     string
		data     []byte
		min, max float64
	}{
		{"the tone", tone(420, 1, sampleRate), 0.95, 1.05},
		{"the tone after silence", late, 0.95, 1.05},
		{"the tone after another's", append(tone(410, 1, sampleRate), tone(420, 1, sampleRate)[44:]...), 0.95, 1.05},
		{"the next phone's tone", tone(410, 1, sampleRate), 0, 0.05},
		{"silence", append(tone(420, 0, sampleRate), make([]byte, 16000)...), 0, 0},
	} {
		if share, err := Heard(file(test.data), 420); err != nil || share < test.min || share > test.max {
			t.Errorf("%s: share %.3f, %v; want %.2f to %.2f", test.name, share, err, test.min, test.max)
		}
	}
	for _, bad := range [][]byte{nil, []byte("RIFF"), tone(420, 0, sampleRate), make([]byte, 50000)} {
		if share, err := Heard(file(bad), 420); err == nil {
			t.Errorf("no error for %d bytes that hold no sound: share %.3f", len(bad), share)
		}
	}
}

func TestStatusLinesCompareInOrder(t *testing.T) {
	got := []Status{{Method: "INVITE", Line: "SIP/2.0 180 Ringing"}, {Method: "INVITE", Line: "SIP/2.0 487 Gone"}}
	for _, test := range []struct {
		want []string
		same bool
	}{
		{[]string{"INVITE 180 Ringing", "INVITE 487 Gone"}, true},
		{[]string{"INVITE 180 Ringing", "INVITE 487 *"}, true},
		{[]string{"INVITE 487 *", "INVITE 180 Ringing"}, false},
		{[]string{"INVITE 180 Ringing"}, false},
		{[]string{"INVITE 180 Ringing", "NOTIFY 487 *"}, false},
	} {
		if same(got, test.want) != test.same {
			t.Errorf("same(%q, %q) is %t", got, test.want, !test.same)
		}
	}
}
