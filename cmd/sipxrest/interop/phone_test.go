//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/phone"
)

// Two users in a browser, each in a profile of his own, on a page of another
// site: one calls the other, both hear the other's tone, sample for sample, and
// one hangs up.
func TestTwoBrowsersSpeak(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("testdata/phone.html")
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	}))
	defer site.Close()
	l := lab.Start(t, nil)
	s := l.Service(fmt.Sprintf("phone: {enabled: true, origins: [%q]}", site.URL))
	sam, kim := phoneUsers(t, filepath.Join(l.Dir, "data", "phone.db"))

	var tabs [2]*lab.Tab
	for i, name := range []string{"sam", "kim"} {
		tabs[i] = l.OpenTab(site.URL)
		tabs[i].Eval(fmt.Sprintf(`logIn(%q, %q, %q, %d)`, s.Secure+"/api/v3/", name, name+"'s password", 400+200*i))
	}
	if friend := tabs[0].Eval(`phone.friends[0].userID`); friend != kim.ID.String() {
		t.Errorf("sam's favourite is %s, want %v", friend, kim.ID)
	}
	tabs[0].Eval(fmt.Sprintf(`void call(%q)`, kim.ID))
	tabs[1].Until(`phone.state`, "ringing")
	tabs[1].Until(`phone.caller`, sam.Username)
	tabs[1].Eval(`void answer()`)
	for i, tab := range tabs {
		tab.Until(`phone.state`, "talking")
		tab.Until(`heardTone(`+fmt.Sprint(600-200*i)+`)`, "the same")
	}
	tabs[0].Eval(`hangUp()`)
	tabs[0].Until(`phone.state`, "closed 1000") // echoed
	tabs[1].Until(`phone.state`, "closed 1001")
	tabs[1].Until(`phone.log.join()`, "incomingPhoneCall,phoneCallAnswered,phoneCallEnded")
}

// phoneUsers makes two users by the command line, while the service runs, each
// the other's favourite.
func phoneUsers(t *testing.T, database string) (sam, kim phone.User) {
	t.Helper()
	run := func(stdin string, args ...string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), "go", append([]string{"run", "sipxrest/cmd/sipxrest", "phone", "user"},
			append(args, "--database", database)...)...)
		c.Stdin = bytes.NewReader([]byte(stdin))
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	run("sam's password\n", "add", "sam")
	run("kim's password\n", "add", "kim")
	run("", "favorite", "sam", "kim")
	run("", "favorite", "kim", "sam")
	store, err := phone.Open(database)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if sam, err = store.Find(t.Context(), "sam"); err != nil {
		t.Fatal(err)
	}
	if kim, err = store.Find(t.Context(), "kim"); err != nil {
		t.Fatal(err)
	}
	return sam, kim
}
