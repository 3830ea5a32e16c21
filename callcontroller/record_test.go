package callcontroller

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sipxrest/sipflow"
)

// TestStatusIsWhatTheCapturesShow tells a call's events to the controller as
// the captured original saw them and compares what a GET returns.
func TestStatusIsWhatTheCapturesShow(t *testing.T) {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")
	entry := regexp.MustCompile(`(?s)<timestamp>(.*?)</timestamp>\s*<call-id>(.*?)</call-id>\s*<method>(.*?)</method>\s*<status-line>(.*?)` +
		`</status-line>`)
	for _, capture := range []string{"R01_refer_success", "R07c_notify_multiline_xml", "R31_get_status_formats"} {
		raw, err := os.ReadFile(filepath.Join("..", "testdata", "captures", capture+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range regexp.MustCompile(`(?s)<\?xml [^>]*>\n<status-lines .*?</status-lines>\n`).FindAllString(string(raw), -1) {
			b := newBench(t, Config{}, nil)
			b.do("POST", "/callcontroller/201/202")
			spec := b.last(t)
			for _, f := range entry.FindAllStringSubmatch(want, -1) {
				ms, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				spec.Observe(&sipflow.Event{Kind: sipflow.Progress, Key: spec.Key, At: time.UnixMilli(ms), CallID: f[2], Method: f[3],
					Text: "\r\n" + f[4] + "\r\n\r\n"})
				want = strings.Replace(want, ">"+f[4]+"<", ">"+escape.Replace(f[4])+"<", 1)
			}
			got := b.do("GET", "/callcontroller/201/202")
			if diff := cmp.Diff(want, got.Body.String()); diff != "" {
				t.Errorf("%s (-capture +ours):\n%s", capture, diff)
			}
		}
	}
}

func TestStatusIsReadUnderEveryNameOfTheUsers(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.do("POST", "/callcontroller/bob/alice?agent=200")
	progress(b.last(t), "INVITE", "SIP/2.0 100 Trying")
	for _, target := range []string{"201/200?agent=alice", "201@sipx.test/alice@SIPX.TEST?agent=200@sipx.test",
		"%62ob/sip:200?agent=200&sipMethod=invite"} {
		if got := texts(b.do("GET", "/callcontroller/"+target).Body.String()); len(got) != 1 {
			t.Errorf("%s: %q", target, got)
		}
	}
	if got := b.do("GET", "/callcontroller/201/200").Body.String(); got != emptyLines {
		t.Errorf("call of another agent: %s", got)
	}
}

func TestPollingIsCheap(t *testing.T) {
	b := newBench(t, Config{}, nil)
	get := func(etag string) (int, string, string) {
		w := b.do("GET", "/callcontroller/201/202", "If-None-Match", etag)
		if got := w.Header().Get("Cache-Control"); got != "no-cache" {
			t.Errorf("Cache-Control: %q", got)
		}
		return w.Code, w.Header().Get("ETag"), w.Body.String()
	}
	seen := map[string]bool{}
	fresh := func(last string) string {
		t.Helper()
		status, etag, body := get(last)
		if status != 200 || body == "" || seen[etag] {
			t.Errorf("%d, ETag %s (seen: %v), body %q", status, etag, seen[etag], body)
		}
		seen[etag] = true
		for _, given := range []string{etag, `"x", W/` + etag + ` `, "*"} {
			if status, again, body := get(given); status != 304 || again != etag || body != "" {
				t.Errorf("If-None-Match %s: %d, ETag %s, body %q", given, status, again, body)
			}
		}
		return etag
	}
	none := fresh("")
	b.do("POST", "/callcontroller/201/202")
	first := b.last(t)
	tag := fresh(none)
	progress(first, "INVITE", "SIP/2.0 100 Trying")
	tag = fresh(tag)
	b.do("POST", "/callcontroller/201/202")
	tag = fresh(tag)
	progress(b.last(t), "INVITE", "SIP/2.0 100 Trying")
	fresh(tag)

	head := b.do("HEAD", "/callcontroller/201/202")
	whole := b.do("GET", "/callcontroller/201/202")
	if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != fmt.Sprint(whole.Body.Len()) ||
		head.Header().Get("ETag") != whole.Header().Get("ETag") {
		t.Errorf("HEAD: %d %v", head.Code, head.Header())
	}
	restarted := newBench(t, Config{}, nil)
	for range 2 {
		restarted.do("POST", "/callcontroller/201/202")
	}
	progress(restarted.last(t), "INVITE", "SIP/2.0 486 Busy Here")
	if w := restarted.do("GET", "/callcontroller/201/202", "If-None-Match", whole.Header().Get("ETag")); w.Code != 200 {
		t.Errorf("the tag of another process matches: %d", w.Code)
	}
}

func TestRecordsAreKeptAfterTheLastEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{}, nil)
		ctx, stop := context.WithCancel(context.Background())
		ran := make(chan struct{})
		go func() { b.Run(ctx); close(ran) }()
		defer func() { stop(); <-ran }()

		lines := func() int { return len(texts(b.do("GET", "/callcontroller/201/202").Body.String())) }
		want := func(when string, n int) {
			t.Helper()
			if got := lines(); got != n {
				t.Errorf("%s: %d lines, want %d", when, got, n)
			}
		}
		call := func(query string) sipflow.Spec {
			b.do("POST", "/callcontroller/201/202"+query)
			progress(b.last(t), "INVITE", "SIP/2.0 180 Ringing")
			return b.last(t)
		}
		spec := call("?resultCacheTime=4")
		time.Sleep(24 * time.Hour)
		want("a day into the call", 1)
		progress(spec, "INVITE", "SIP/2.0 200 OK")
		end(spec)
		time.Sleep(4*time.Second - time.Millisecond)
		want("before its time", 2)
		time.Sleep(2 * time.Millisecond)
		want("after its time", 0)

		end(call("")) // 180 s
		time.Sleep(179 * time.Second)
		want("before the default time", 1)
		time.Sleep(sweepEvery + time.Second)
		synctest.Wait()
		if n := b.records.cache.ItemCount(); n != 0 {
			t.Errorf("%d records are held in memory after their time", n)
		}

		spec = call("?resultCacheTime=0")
		want("running, time 0", 1)
		end(spec)
		want("ended, time 0", 0)
		if n := b.records.cache.ItemCount(); n != 0 {
			t.Errorf("%d records with time 0 are held", n)
		}
	})
}

func TestAReplacedCallLeavesTheNewRecordAlone(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.do("POST", "/callcontroller/201/202?resultCacheTime=0")
	old := b.last(t)
	progress(old, "INVITE", "SIP/2.0 180 Ringing")
	b.do("POST", "/callcontroller/201/202")
	progress(b.last(t), "INVITE", "SIP/2.0 100 Trying")
	progress(old, "INVITE", "SIP/2.0 487 Request Terminated")
	end(old)
	if diff := cmp.Diff([]string{"SIP/2.0 100 Trying"}, texts(b.do("GET", "/callcontroller/201/202").Body.String())); diff != "" {
		t.Error(diff)
	}
}

func TestACallThatTookNoKeyLeavesTheRecordAlone(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.do("POST", "/callcontroller/201/202")
	progress(b.last(t), "INVITE", "SIP/2.0 100 Trying")
	stranger := &record{c: b.Controller}
	stranger.observe(&sipflow.Event{Kind: sipflow.Ended, Key: b.last(t).Key})
	if got := texts(b.do("GET", "/callcontroller/201/202").Body.String()); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestAFloodOfNotifiesIsCut(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, Config{}, &log)
	b.do("POST", "/callcontroller/201/202")
	spec := b.last(t)
	for i := range 1000 {
		progress(spec, "NOTIFY", fmt.Sprintf("SIP/2.0 180 Ringing %d", i))
	}
	var want []string
	for i := range 1000 {
		if i < 50 || i >= 850 {
			want = append(want, fmt.Sprintf("SIP/2.0 180 Ringing %d", i))
		}
	}
	if diff := cmp.Diff(want, texts(b.do("GET", "/callcontroller/201/202").Body.String())); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(log.String(), "dropped") {
		t.Errorf("logged while the call runs: %s", log.String())
	}
	end(spec)
	if got := strings.Count(log.String(), "dropped=800"); got != 1 {
		t.Errorf("logged %d times: %s", got, log.String())
	}
	if diff := cmp.Diff(want, texts(b.do("GET", "/callcontroller/201/202").Body.String())); diff != "" {
		t.Errorf("after the end: %s", diff)
	}
}

func TestLongTextsAreCutAndEmptyOnesAreNone(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.do("POST", "/callcontroller/201/202")
	spec := b.last(t)
	progress(spec, "NOTIFY", " \r\n\t\x00")
	progress(spec, "NOTIFY", "")
	progress(spec, "NOTIFY", strings.Repeat("a", 2046)+"üüü")
	progress(spec, "NOTIFY", strings.Repeat("a", 2047)+"üüü")
	progress(spec, "NOTIFY", strings.Repeat("\x80", 5000))
	want := []string{strings.Repeat("a", 2046) + "ü", strings.Repeat("a", 2047), strings.Repeat("\uFFFD", 2044)}
	if diff := cmp.Diff(want, texts(b.do("GET", "/callcontroller/201/202").Body.String())); diff != "" {
		t.Error(diff)
	}
}

func TestTooManyRecordsAreGivenUpEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := newBench(t, Config{MaxRecords: 10}, &log)
		for i := range 20 {
			b.do("POST", fmt.Sprintf("/callcontroller/201/%d", 1000+i))
			end(b.last(t))
		}
		b.do("POST", "/callcontroller/201/2000")
		progress(b.last(t), "INVITE", "SIP/2.0 100 Trying")
		if n := b.records.cache.ItemCount(); n != 11 {
			t.Errorf("%d records, want 10 and the running call's", n)
		}
		if got := texts(b.do("GET", "/callcontroller/201/2000").Body.String()); len(got) != 1 {
			t.Errorf("the running call lost its record: %q", got)
		}
		ctx, stop := context.WithCancel(context.Background())
		ran := make(chan struct{})
		go func() { b.Run(ctx); close(ran) }()
		time.Sleep(sweepEvery + time.Second)
		stop()
		<-ran
		if !strings.Contains(log.String(), "given_up=10 limits.records=10") {
			t.Errorf("log: %s", log.String())
		}
	})
}

// memoryPerRecord is what a finished record costs, in bytes, with the cache's
// part.
func memoryPerRecord(t testing.TB, method string, n int) float64 {
	b := newBench(t, Config{}, nil)
	heap := func() (used int64) {
		// What other tests have left goes with their last goroutines, one collection after another.
		for before := int64(1) << 62; ; before = used {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			if used = int64(m.HeapAlloc); before-used < 4<<10 {
				return used
			}
		}
	}
	before := heap()
	for i := range n {
		key := sipflow.Key{Agent: "201@sipx.test", Calling: "201@sipx.test", Called: strconv.Itoa(i) + "@sipx.test"}
		r := &record{c: b.Controller, seq: uint64(i), method: method, keep: time.Hour}
		r.observe(&sipflow.Event{Kind: sipflow.Placed, Key: key})
		for leg := range uint64(2) {
			if method == methodRefer {
				break
			}
			for _, state := range []sipflow.DialogState{sipflow.Calling, sipflow.Early, sipflow.Confirmed, sipflow.Terminated} {
				r.observe(&sipflow.Event{Kind: sipflow.DialogChanged, Key: key, At: time.Now(), Dialog: &sipflow.Dialog{Leg: leg, State: state,
					ID: strings.Repeat("x", 80), Local: "sip:" + key.Agent, Remote: "sip:" + key.Called}})
			}
		}
		for _, e := range [][2]string{
			{"INVITE", "SIP/2.0 100 Trying"}, {"INVITE", "SIP/2.0 180 Ringing"}, {"INVITE", "SIP/2.0 200 OK"},
			{"NOTIFY", "SIP/2.0 100 Trying"}, {"NOTIFY", "SIP/2.0 180 Ringing"}, {"NOTIFY", "SIP/2.0 200 Alles gut " + strconv.Itoa(i)},
		} {
			// As from the wire: parts of a message that must not be held.
			msg := strings.Repeat("x", 600) + e[1] + strconv.Itoa(i) + "@192.0.2.9"
			r.observe(&sipflow.Event{
				Kind: sipflow.Progress, Key: key, At: time.Now(), Method: e[0],
				CallID: msg[600+len(e[1]):], Text: msg[600 : 600+len(e[1])],
			})
		}
		r.observe(&sipflow.Event{Kind: sipflow.Ended, Key: key})
	}
	used := heap() - before
	runtime.KeepAlive(b)
	return float64(used) / float64(n)
}

func TestAFinishedRecordIsSmall(t *testing.T) {
	const n = 10_000
	for _, method := range []string{methodRefer, methodInvite} {
		if got := memoryPerRecord(t, method, n); got > 1024 {
			t.Errorf("a finished record of 6 lines, or 2 dialogs, costs %.0f bytes by %s", got, method)
		} else {
			t.Logf("a finished record of 6 lines, or 2 dialogs, costs %.0f bytes by %s", got, method)
		}
	}
}
