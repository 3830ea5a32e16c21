package dialout

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testEntry() *entry {
	return &entry{CallID: newCallID(), Server: "http://s/spreed", Backend: "http://c/", RoomID: "1234",
		Options: json.RawMessage(`{"attendeeId":7}`), At: time.Now()}
}

func testJournal(t *testing.T) (*journal, *logText) {
	t.Helper()
	log := &logText{}
	j, err := openJournal(filepath.Join(t.TempDir(), "data", "dialout"), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return j, log
}

func TestANoteIsReadBack(t *testing.T) {
	j, _ := testJournal(t)
	e := testEntry()
	j.put(e)
	e.Connected = true
	j.put(e)
	info, err := os.Stat(j.fileOf(e.CallID))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
	list := j.leftovers()
	if len(list) != 1 || list[0].CallID != e.CallID || !list[0].Connected || list[0].options().AttendeeID != 7 ||
		string(list[0].options().Raw) != `{"attendeeId":7}` {
		t.Errorf("read %+v", list)
	}
	j.remove(e.CallID)
	j.remove(e.CallID)
	if list := j.leftovers(); len(list) != 0 || j.failures.Load() != 0 {
		t.Errorf("%+v stay, %d failures", list, j.failures.Load())
	}
}

func TestNotesThatAreDamagedAreReportedAndGivenUp(t *testing.T) {
	j, log := testJournal(t)
	good := testEntry()
	j.put(good)
	whole, err := os.ReadFile(j.fileOf(good.CallID))
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string][]byte{
		"cutshortcutshort.json":   whole[:len(whole)/2],
		"emptyemptyempty0.json":   nil,
		"anotheranother00.json":   whole, // the name is not the call's
		"numbernumber0000.json":   []byte("5"),
		"biggerbigger0000.json":   append(whole, make([]byte, maxEntry)...),
		"binarybinary0000.json":   {0xff, 0xfe, 0},
		"noroomnoroomnoro.json":   []byte(`{"callid":"noroomnoroomnoro","server":"a","backend":"b","roomid":"../x"}`),
		"noserver00000000.json":   []byte(`{"callid":"noserver00000000","backend":"b","roomid":"1"}`),
		good.CallID + ".json.new": whole[:10], // killed while writing
	}
	for name, data := range damaged {
		if err := os.WriteFile(filepath.Join(j.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(j.dir, "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(j.dir, "symlinksymlink00.json")); err != nil {
		t.Fatal(err)
	}
	list := j.leftovers()
	if len(list) != 1 || list[0].CallID != good.CallID {
		t.Errorf("read %+v", list)
	}
	for name := range damaged {
		if !strings.HasSuffix(name, ".new") && !strings.Contains(log.String(), name) {
			t.Errorf("%s is not reported", name)
		}
		if _, err := os.Lstat(filepath.Join(j.dir, name)); err == nil {
			t.Errorf("%s stays", name)
		}
	}
	if _, err := os.Stat(filepath.Join(j.dir, "README")); err != nil {
		t.Error("a file that is not ours was removed")
	}
}

func TestAFullDiskDoesNotKeepCallsFromBeingMade(t *testing.T) {
	inTalk(t, func(st *talkStage) {
		st.journal.dir = filepath.Join(st.dir, "gone")
		id, l := st.connected()
		l.ends(phone, nil)
		st.rejected(id, false)
		if st.Stats().JournalFailures == 0 || !strings.Contains(st.log.String(), "cannot be noted") {
			t.Errorf("%d failures counted:\n%s", st.Stats().JournalFailures, st.log)
		}
	})
}

func TestAFolderThatCannotBeMadeIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openJournal(filepath.Join(file, "dialout"), slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), "data-dir: ") {
		t.Error(err)
	}
}

func FuzzNote(f *testing.F) {
	f.Add([]byte(`{"callid":"x","roomid":"1","server":"a","backend":"b","options":{"attendeeId":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := &journal{dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
		if err := os.WriteFile(filepath.Join(j.dir, "aaaaaaaaaaaaaaaa.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, e := range j.leftovers() {
			_ = e.options()
			j.put(e)
		}
	})
}
