package watch

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLooksAtOnceAgainAndWhenAFileIsReplaced(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	looks, ended := make(chan int), make(chan error)
	n := 0
	go func() {
		ended <- Folders(ctx, []string{dir}, time.Millisecond, slog.New(slog.DiscardHandler), func() bool {
			n++
			looks <- n
			return n == 1
		})
	}()
	next := func(why string) {
		t.Helper()
		select {
		case <-looks:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody looked ", why)
		}
	}
	next("at first")
	next("again")
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next("when a file was written")
	go func() { // it may be written in several steps
		for range looks {
		}
	}()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(looks)
}

func TestAFolderThatIsNotThereIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if err := Folders(t.Context(), []string{missing}, time.Second, slog.New(slog.DiscardHandler), nil); err == nil {
		t.Error("no error")
	}
}

func TestFoldersOfLinks(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	file, link := filepath.Join(b, "cert"), filepath.Join(a, "cert")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	want := []string{a, b}
	slices.Sort(want)
	if got := FoldersOf([]string{link, filepath.Join(a, "key")}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
