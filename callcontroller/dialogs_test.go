package callcontroller

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sipxrest/sipflow"
)

// capturedDialogs are the dialogs documents of a capture.
func capturedDialogs(t *testing.T, capture string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "captures", capture+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	docs := regexp.MustCompile(`(?s)<\?xml [^>]*>\n<dialogs .*?</dialogs>\n`).FindAllString(string(raw), -1)
	if len(docs) == 0 {
		t.Fatalf("no document in %s", capture)
	}
	return docs
}

var dialogEntry = regexp.MustCompile(`(?s)<dialog-id>(.*?)</dialog-id>\s*<local-party>(.*?)</local-party>\s*<remote-party>(.*?)` +
	`</remote-party>\s*<dialog-state>(.*?)</dialog-state>`)

func tell(spec sipflow.Spec, leg uint64, id, remote string, state sipflow.DialogState) {
	spec.Observe(&sipflow.Event{Kind: sipflow.DialogChanged, Key: spec.Key, At: time.Now(),
		Dialog: &sipflow.Dialog{Leg: leg, ID: id, Local: "sip:201@sipx.test", Remote: remote, State: state}})
}

// TestDialogsAreWhatTheCapturesShow tells a call's dialogs to the controller
// as the captured original had them and compares what a GET returns.
func TestDialogsAreWhatTheCapturesShow(t *testing.T) {
	for _, capture := range []string{"I01_invite_success", "I06_callee_hangs_up", "I11_transfer"} {
		for _, want := range capturedDialogs(t, capture) {
			b := newBench(t, Config{}, nil)
			b.do("POST", "/callcontroller/201/202?sipMethod=invite")
			spec := b.last(t)
			for i, f := range dialogEntry.FindAllStringSubmatch(want, -1) {
				spec.Observe(&sipflow.Event{Kind: sipflow.DialogChanged, Key: spec.Key, At: time.Now(),
					Dialog: &sipflow.Dialog{Leg: uint64(i), ID: f[1], Local: f[2], Remote: f[3], State: sipflow.DialogState(f[4])}})
			}
			for _, query := range []string{"", "?sipMethod=invite", "?sipMethod=refer"} {
				if diff := cmp.Diff(want, b.do("GET", "/callcontroller/201/202"+query).Body.String()); diff != "" {
					t.Errorf("%s (-capture +ours):\n%s", capture, diff)
				}
			}
		}
	}
}

func TestACallThatIsTransferredWithoutEndStaysBounded(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.do("POST", "/callcontroller/201/202?sipMethod=invite")
	spec := b.last(t)
	key := spec.Key
	for i := range 100 {
		tell(spec, uint64(i), "null", "sip:x@sipx.test", sipflow.Calling)
		if i > 1 {
			tell(spec, uint64(i-1), "null", "sip:x@sipx.test", sipflow.Terminated)
		}
		key.Calling = fmt.Sprintf("%d@sipx.test", 300+i)
		spec.Observe(&sipflow.Event{Kind: sipflow.Moved, Key: key, At: time.Now()})
	}
	r := b.records.find(key)
	if r == nil || len(r.run.dialogs) != maxDialogs || len(r.run.keys) != maxKeys {
		t.Fatalf("%d dialogs, %d keys", len(r.run.dialogs), len(r.run.keys))
	}
	if r.run.dialogs[0].Leg != 0 {
		t.Error("a dialog that is up was given up for one that has ended")
	}
	spec.Observe(&sipflow.Event{Kind: sipflow.Moved, Key: spec.Key, At: time.Now()})
	if b.records.find(spec.Key) != r || len(r.run.keys) != maxKeys {
		t.Errorf("back at its first key: %d keys", len(r.run.keys))
	}
	running := 0
	for _, item := range b.records.cache.Items() {
		if item.Expiration == 0 {
			running++
		}
	}
	if running != maxKeys {
		t.Errorf("%d keys of the running call do not expire, want %d", running, maxKeys)
	}
	spec.Observe(&sipflow.Event{Kind: sipflow.Ended, Key: spec.Key, At: time.Now()})
	for text, item := range b.records.cache.Items() {
		if item.Expiration == 0 {
			t.Errorf("%s does not expire", text)
		}
	}
}

func TestEachStateOfADialogHasItsETag(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.do("POST", "/callcontroller/201/202?sipMethod=invite")
	etag := b.do("GET", "/callcontroller/201/202").Header().Get("ETag")
	for _, state := range []sipflow.DialogState{sipflow.Calling, sipflow.Early, sipflow.Confirmed, sipflow.Terminated} {
		tell(b.last(t), 1, "null", "sip:201@sipx.test", state)
		w := b.do("GET", "/callcontroller/201/202", "If-None-Match", etag)
		if w.Code != 200 || w.Header().Get("ETag") == etag {
			t.Errorf("%s: %d, ETag %s", state, w.Code, w.Header().Get("ETag"))
		}
		etag = w.Header().Get("ETag")
	}
}

func TestACallThatMovesToAndFroHoldsEachKeyOnce(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.do("POST", "/callcontroller/201/202?sipMethod=invite")
	spec := b.last(t)
	r, other := b.records.find(spec.Key), spec.Key
	other.Calling = "203@sipx.test"
	for range 2 * maxKeys {
		spec.Observe(&sipflow.Event{Kind: sipflow.Moved, Key: other, At: time.Now()})
		spec.Observe(&sipflow.Event{Kind: sipflow.Moved, Key: spec.Key, At: time.Now()})
	}
	if len(r.run.keys) != 2 {
		t.Errorf("%v", r.run.keys)
	}
}

// What the phones of an ended call chose to be called by is not kept for as long
// as its result, which nobody may ever read.
func TestTheDialogsOfEndedCallsAreForgottenUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{}, nil)
		ctx, stop := context.WithCancel(t.Context())
		swept := make(chan struct{})
		go func() { defer close(swept); b.Run(ctx) }()
		keeps := func(r *record) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.run != nil
		}
		var kept []*record
		for i := range 100 {
			b.do("POST", fmt.Sprintf("/callcontroller/201/%d?sipMethod=invite&resultCacheTime=86400", 1000+i))
			spec := b.last(t)
			for leg := range uint64(3) {
				tell(spec, leg, strings.Repeat("x", maxID), "sip:201@sipx.test", sipflow.Terminated)
			}
			end(spec)
			kept = append(kept, b.records.find(spec.Key))
			time.Sleep(100 * time.Millisecond)
		}
		running := 0
		for _, r := range kept {
			if keeps(r) {
				running++
			}
		}
		if running < 70 {
			t.Errorf("%d of 100 list their dialogs still, before their time is over", running)
		}
		time.Sleep(listTerminated + sweepEvery)
		for i, r := range kept {
			if keeps(r) {
				t.Fatalf("call %d keeps its dialogs", i)
			}
		}
		if w := b.do("GET", "/callcontroller/201/1000"); w.Body.String() != emptyDialogs {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		stop()
		<-swept
		if b.records.over != nil {
			t.Errorf("%d calls are remembered", len(b.records.over))
		}
	})
}

func TestAnEndedCallGivesUpWhatOnlyARunningOneNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{}, nil)
		for _, method := range []string{methodRefer, methodInvite} {
			b.do("POST", "/callcontroller/201/202?sipMethod="+method)
			spec := b.last(t)
			r := b.records.find(spec.Key)
			if method == methodInvite {
				tell(spec, 1, "null", "sip:201@sipx.test", sipflow.Terminated)
			}
			end(spec)
			if (r.run == nil) != (method == methodRefer) {
				t.Errorf("%s: %v", method, r.run)
			}
			time.Sleep(listTerminated)
			b.do("GET", "/callcontroller/201/202")
			if r.run != nil {
				t.Errorf("%s, 8 s later: %v", method, r.run)
			}
			tell(spec, 2, "null", "sip:201@sipx.test", sipflow.Calling) // too late, and no fault
			late := spec.Key
			late.Calling = "203@sipx.test"
			spec.Observe(&sipflow.Event{Kind: sipflow.Moved, Key: late, At: time.Now()})
			if b.records.find(late) != nil {
				t.Errorf("%s: a call that is over took a key", method)
			}
		}
	})
}
