package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/chromedp/chromedp"
)

// chromium is the one browser of all tests: to start it takes longer than a call.
var chromium struct {
	sync.Once
	ctx   context.Context
	close func() error
	err   error
}

// startChromium starts a browser without a window. What it is told beside its
// settings lets it have calls on loopback:
//   - microphones and sound cards are pretended, and asked for without a dialog;
//   - ICE leaves loopback out, and hides addresses behind names that nobody here
//     resolves (mDNS).
func startChromium() {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox,
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.Flag("allow-loopback-in-peer-connection", true),
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,WebRtcHideLocalIpsWithMdns"))
	ctx, endAll := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(ctx)
	chromium.ctx, chromium.err = ctx, chromedp.Do(ctx) // starts it
	chromium.close = func() error {
		defer endAll()
		defer end()
		return chromedp.Cancel(ctx) // waits until it has ended
	}
}

// CloseChromium ends the browser, if a test has had it started.
func CloseChromium() error {
	if chromium.close == nil {
		return nil
	}
	return chromium.close()
}

// Tab is a page in the browser, in a profile of its own: it shares nothing with
// the pages of other tabs.
type Tab struct {
	lab *Lab
	ctx context.Context
}

// OpenTab opens the page at url. It is closed with the test.
func (l *Lab) OpenTab(url string) *Tab {
	l.tb.Helper()
	Need(l.tb, "chromium")
	chromium.Do(startChromium)
	if chromium.err != nil {
		l.tb.Fatalf("chromium: %v", chromium.err)
	}
	ctx, end := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	l.tb.Cleanup(end)
	t := &Tab{lab: l, ctx: ctx}
	t.Go(url)
	return t
}

// Go has the tab show another page.
func (t *Tab) Go(url string) {
	t.lab.tb.Helper()
	if err := chromedp.Do(t.ctx, chromedp.Navigate(url)); err != nil {
		t.lab.tb.Fatalf("%s: %v", url, err)
	}
}

// Eval evaluates an expression, waits if it is a promise, and returns its text.
func (t *Tab) Eval(expression string) string {
	t.lab.tb.Helper()
	got, err := t.eval(expression)
	if err != nil {
		t.lab.tb.Fatalf("%s: %v", expression, err)
	}
	return got
}

func (t *Tab) eval(expression string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(t.ctx, Patience, errors.New("no result in time"))
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[string](`Promise.resolve(`+expression+`).then(String)`, chromedp.EvalAwaitPromise))
}

// Until waits until an expression is what it should be. A page that is being loaded has no
// value, and is asked again.
func (t *Tab) Until(expression, want string) {
	t.lab.tb.Helper()
	got := ""
	t.lab.until(50*time.Millisecond, func() string { return fmt.Sprintf("%s is %s, want %s", expression, got, want) }, func() bool {
		value, err := t.eval(expression)
		if got = value; err != nil {
			got = err.Error()
		}
		return err == nil && got == want
	})
}

// Size gives the page so many pixels, as a window or a telephone has.
func (t *Tab) Size(width, height int64) {
	t.lab.tb.Helper()
	if err := chromedp.Do(t.ctx, chromedp.EmulateViewport(width, height)); err != nil {
		t.lab.tb.Fatal(err)
	}
}

// Load runs a script in the page, whatever the page's own policy is.
func (t *Tab) Load(script string) {
	t.lab.tb.Helper()
	if _, err := chromedp.Run(t.ctx, chromedp.Evaluate[string](script+"\n;'loaded'")); err != nil {
		t.lab.tb.Fatal(err)
	}
}

// Type sends keys to what has the focus, as a user does.
func (t *Tab) Type(keys string) {
	t.lab.tb.Helper()
	if err := chromedp.Do(t.ctx, chromedp.KeyEvent(keys)); err != nil {
		t.lab.tb.Fatal(err)
	}
}

// Shot writes a picture of the whole page to a file of the lab's folder that ends in
// ".png", and to $LAB_SHOTS if that names another folder.
func (t *Tab) Shot(name string) {
	t.lab.tb.Helper()
	picture, err := chromedp.Run(t.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.lab.tb.Fatal(err)
	}
	dir := t.lab.Dir
	if other := os.Getenv("LAB_SHOTS"); other != "" {
		dir = other
	}
	if err := os.WriteFile(filepath.Join(dir, name), picture, 0o600); err != nil {
		t.lab.tb.Fatal(err)
	}
}
