//go:build interop

package interop

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/phone"
)

// Two users in a browser, each in a profile of his own, on a page of another
// site: one calls the other, both hear the other's tone, sample for sample, and
// one hangs up.
func TestTwoBrowsersSpeak(t *testing.T) {
	lab.Need(t, "chromium")
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

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox,
		chromedp.Flag("ignore-certificate-errors", true))
	ctx, cancelAll := chromedp.NewExecAllocator(ctx, options...)
	defer cancelAll()
	ctx, closeAll := chromedp.NewContext(ctx)
	defer func() {
		if err := chromedp.Cancel(ctx); err != nil { // waits until the browser has ended
			t.Error(err)
		}
		closeAll()
	}()
	if err := chromedp.Do(ctx); err != nil { // starts the browser
		t.Fatal(err)
	}
	var tabs [2]context.Context
	for i, name := range []string{"sam", "kim"} {
		tab, end := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
		defer end()
		tabs[i] = tab
		if err := chromedp.Do(tab, chromedp.Navigate(site.URL)); err != nil {
			t.Fatal(err)
		}
		eval(t, tab, fmt.Sprintf(`logIn(%q, %q, %q, %d)`, s.Secure+"/api/v3/", name, name+"'s password", 400+200*i))
	}
	if friend := eval(t, tabs[0], `phone.friends[0].userID`); friend != kim.ID.String() {
		t.Errorf("sam's favourite is %s, want %v", friend, kim.ID)
	}
	eval(t, tabs[0], fmt.Sprintf(`void call(%q)`, kim.ID))
	until(t, tabs[1], `phone.state`, "ringing")
	until(t, tabs[1], `phone.caller`, sam.Username)
	eval(t, tabs[1], `void answer()`)
	for i, tab := range tabs {
		until(t, tab, `phone.state`, "talking")
		until(t, tab, `heardTone(`+fmt.Sprint(600-200*i)+`)`, "the same")
	}
	eval(t, tabs[0], `hangUp()`)
	until(t, tabs[0], `phone.state`, "closed 1000") // echoed
	until(t, tabs[1], `phone.state`, "closed 1001")
	until(t, tabs[1], `phone.log.join()`, "incomingPhoneCall,phoneCallAnswered,phoneCallEnded")
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

// eval evaluates an expression, waits if it is a promise, and answers its text.
func eval(t *testing.T, tab context.Context, expression string) string {
	t.Helper()
	got, err := chromedp.Run(tab, chromedp.Evaluate[string](`Promise.resolve(`+expression+`).then(String)`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return got
}

// until waits until an expression is what it should be.
func until(t *testing.T, tab context.Context, expression, want string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	got := ""
	for range 400 {
		if got = eval(t, tab, expression); got == want {
			return
		}
		<-tick.C
	}
	t.Fatalf("%s is %v, want %v", expression, got, want)
}
