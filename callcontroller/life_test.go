package callcontroller

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// anonymous replaces the parts of a document that no two runs share.
func anonymous(t *testing.T, doc string) string {
	t.Helper()
	doc = strings.NewReplacer("pbx.example", "sipx.test", "9301", "202", "9308", "202", "9322", "202").Replace(doc)
	return regexp.MustCompile(`<dialog-id>(.*?)</dialog-id>`).ReplaceAllStringFunc(doc, func(id string) string {
		if strings.Contains(id, ">null<") {
			return id
		}
		if !regexp.MustCompile(`^<dialog-id>[0-9a-f]+@[0-9.]+:[0-9a-z]+:[0-9a-z.-]+</dialog-id>$`).MatchString(id) {
			t.Errorf("%s", id)
		}
		return "<dialog-id>ID</dialog-id>"
	})
}

// readings are the distinct documents that polling shows.
type readings struct {
	mu   sync.Mutex
	docs []string
}

func (r *readings) add(doc string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.docs, doc) {
		r.docs = append(r.docs, doc)
	}
}

// phones starts the phones 201, 202 and 203 behind a proxy.
func (w *world) phones(scripts ...siptest.Script) (phones []*siptest.Phone, end func()) {
	locations, users := map[string]string{}, map[string]string{"200": "secret200", "201": "x"}
	for i, script := range scripts {
		user, addr := fmt.Sprint(201+i), fmt.Sprintf("10.0.0.%d:5060", 2+i)
		phones = append(phones, w.net.Phone(user, addr, script))
		locations[user], users[user] = "sip:"+user+"@"+addr, "x"
	}
	proxy := w.net.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Users: users, Locations: locations, Open: true})
	return phones, func() {
		for _, p := range phones {
			p.Close()
		}
		proxy.Close()
	}
}

// mustDo is a request that must be answered with status, and its body.
func (w *world) mustDo(t *testing.T, status int, method, target string) string {
	t.Helper()
	a := w.do(method, "/callcontroller/"+target)
	if a.Code != status {
		t.Errorf("%s %s: %d %s, want %d", method, target, a.Code, a.Body, status)
	}
	return a.Body.String()
}

// TestTheLifeOfADialogsDocument follows a real call from before it was placed
// to the end of its record, and finds the documents that the original showed.
func TestTheLifeOfADialogsDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		var seen readings
		read := func() { seen.add(anonymous(t, w.do("GET", "/callcontroller/201/202?sipMethod=invite").Body.String())) }
		w = newWorld(t, proxyAddr, func(e *sipflow.Event) {
			if e.Kind == sipflow.DialogChanged {
				read()
			}
		})
		defer w.close()
		phones, end := w.phones(siptest.Script{Ring: time.Second, HangUpAfter: 10 * time.Second}, siptest.Script{Ring: time.Second, Ringing: 183})
		defer end()

		read()
		empty := w.do("GET", "/callcontroller/201/202").Header().Get("ETag")
		w.mustDo(t, 200, "POST", "201/202?sipMethod=invite&resultCacheTime=20")
		time.Sleep(8 * time.Second)
		if phones[0].OnHook() || phones[1].OnHook() {
			t.Fatal("the phones are not in the call")
		}
		if err := phones[0].Wait(t.Context(), phones[0].OnHook); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // for our BYE to the other
		read()
		if diff := cmp.Diff(2, strings.Count(seen.docs[len(seen.docs)-1], "Terminated Dialog")); diff != "" {
			t.Errorf("after the hang-up: %s", seen.docs[len(seen.docs)-1])
		}
		etag := w.do("GET", "/callcontroller/201/202").Header().Get("ETag")
		poll := func() (int, string) {
			a := w.do("GET", "/callcontroller/201/202", "If-None-Match", etag)
			return a.Code, a.Body.String()
		}
		time.Sleep(7900 * time.Millisecond)
		if status, body := poll(); status != 304 {
			t.Errorf("before the 8 s are over: %d %s", status, body)
		}
		time.Sleep(200 * time.Millisecond)
		status, body := poll()
		if status != 200 || body != emptyDialogs {
			t.Errorf("after 8 s: %d %s", status, body)
		}
		time.Sleep(10 * time.Second)
		if got := w.do("GET", "/callcontroller/201/202").Body.String(); got != emptyDialogs {
			t.Errorf("until it expires the record is one of dialogs: %s", got)
		}
		time.Sleep(5 * time.Second)
		after := w.do("GET", "/callcontroller/201/202?sipMethod=invite")
		if got := w.do("GET", "/callcontroller/201/202").Body.String(); got != emptyLines || after.Header().Get("ETag") == etag || empty == etag {
			t.Errorf("after its time: %s", got)
		}

		var want readings
		for _, doc := range capturedDialogs(t, "I01_invite_success") {
			want.add(anonymous(t, doc))
		}
		// Between two of them the second phone may not be called yet, or the
		// first be hung up already.
		got := slices.DeleteFunc(seen.docs, func(doc string) bool {
			return strings.Count(doc, "<dialog>") == 1 && strings.Contains(doc, "Confirmed") || strings.Count(doc, "Terminated") == 1
		})
		if diff := cmp.Diff(want.docs, got); diff != "" {
			t.Errorf("(-capture +ours):\n%s", diff)
		}
	})
}

func (w *world) states(target string) string {
	var states []string
	for _, f := range dialogEntry.FindAllStringSubmatch(w.do("GET", "/callcontroller/"+target).Body.String(), -1) {
		user, _, _ := strings.Cut(strings.TrimPrefix(f[3], "sip:"), "@")
		states = append(states, user+" "+strings.TrimSuffix(f[4], " Dialog"))
	}
	return strings.Join(states, ", ")
}

func TestACallIsTransferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, proxyAddr)
		defer w.close()
		phones, end := w.phones(siptest.Script{}, siptest.Script{}, siptest.Script{Ring: 2 * time.Second})
		defer end()
		is := func(when, target, want string) {
			t.Helper()
			synctest.Wait()
			if got := w.states(target); got != want {
				t.Errorf("%s, %s: %s, want %s", when, target, got, want)
			}
		}
		const transfer = "201/202?action=transfer&target=203"

		if got := w.mustDo(t, 406, "POST", transfer); got != xmlError("403", "Call not found.") {
			t.Error(got)
		}
		w.mustDo(t, 200, "POST", "201/202?sipMethod=invite&resultCacheTime=60")
		time.Sleep(5 * time.Second)
		is("up", "201/202", "201 Confirmed, 202 Confirmed")
		if got := w.mustDo(t, 406, "POST", "bob/202?sipMethod=Invite"); got != xmlError("403", "Call in progress Invite not supported") {
			t.Error(got)
		}
		w.mustDo(t, 200, "POST", transfer)
		time.Sleep(time.Second)
		is("the target rings", "201/202", "201 Confirmed, 202 Confirmed, 203 Early")
		is("the target rings", "203/202?agent=201&sipMethod=invite", "")
		if got := w.mustDo(t, 406, "POST", transfer); got != xmlError("403", "Transfer in progress.") {
			t.Error(got)
		}
		time.Sleep(2 * time.Second)
		const moved = "201 Terminated, 202 Confirmed, 203 Confirmed"
		is("transferred", "201/202", moved)
		is("transferred", "203/202?agent=201", moved)
		if !phones[0].OnHook() || phones[1].OnHook() || phones[2].OnHook() {
			t.Error("202 and 203 are to be in the call, 201 not")
		}
		w.mustDo(t, 406, "POST", transfer) // its key is another now
		time.Sleep(8 * time.Second)
		is("8 s later", "203/202?agent=201", "202 Confirmed, 203 Confirmed")

		w.mustDo(t, 404, "DELETE", "201/202")
		w.mustDo(t, 200, "DELETE", "203/202?agent=201")
		is("hung up", "201/202", "202 Terminated, 203 Terminated")
		is("hung up", "203/202?agent=201", "202 Terminated, 203 Terminated")
		if !phones[1].OnHook() || !phones[2].OnHook() {
			t.Error("not hung up")
		}
		w.mustDo(t, 404, "DELETE", "203/202?agent=201")
		time.Sleep(time.Minute + time.Second)
		for _, target := range []string{"201/202", "203/202?agent=201"} {
			if got := w.do("GET", "/callcontroller/"+target).Body.String(); got != emptyLines {
				t.Errorf("%s after its time: %s", target, got)
			}
		}
		w.records.sweep()
		if n := w.records.cache.ItemCount(); n != 0 {
			t.Errorf("%d records are left", n)
		}
	})
}

func TestARefusedTransferLeavesTheCallAndIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, proxyAddr)
		defer w.close()
		phones, end := w.phones(siptest.Script{}, siptest.Script{}, siptest.Script{Status: 486})
		defer end()
		w.mustDo(t, 200, "POST", "201/202?sipMethod=invite")
		time.Sleep(5 * time.Second)
		w.mustDo(t, 200, "POST", "201/202?action=transfer&target=203")
		time.Sleep(time.Second)
		if got := w.states("201/202"); got != "201 Confirmed, 202 Confirmed, 203 Terminated" {
			t.Error(got)
		}
		time.Sleep(8 * time.Second)
		if got := w.states("201/202"); got != "201 Confirmed, 202 Confirmed" {
			t.Error(got)
		}
		w.mustDo(t, 200, "DELETE", "201/202")
		if !phones[0].OnHook() || !phones[1].OnHook() {
			t.Error("not hung up")
		}
	})
}

func TestWhileACallRingsItIsNotTransferredButHungUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, proxyAddr)
		defer w.close()
		phones, end := w.phones(siptest.Script{NeverAnswer: true}, siptest.Script{})
		defer end()
		for _, query := range []string{"?sipMethod=invite", "?sipMethod=refer"} {
			w.mustDo(t, 200, "POST", "201/202"+query)
			time.Sleep(time.Second)
			w.mustDo(t, 406, "POST", "201/202?action=transfer&target=203")
			w.mustDo(t, 200, "DELETE", "201/202")
			if !phones[0].OnHook() {
				t.Errorf("%s: the phone rings on", query)
			}
			w.mustDo(t, 404, "DELETE", "201/202")
		}
		time.Sleep(time.Minute)
	})
}

// A POST that may not replace a call of the other method would leave the user
// with a call that he cannot end.
func TestCallsByReferAndByInviteReplaceEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, proxyAddr)
		defer w.close()
		phones, end := w.phones(siptest.Script{}, siptest.Script{NeverAnswer: true})
		defer end()
		w.mustDo(t, 200, "POST", "201/202?sipMethod=invite")
		time.Sleep(3 * time.Second)
		w.mustDo(t, 200, "POST", "201/202")
		time.Sleep(time.Second)
		if got := texts(w.do("GET", "/callcontroller/201/202?sipMethod=invite").Body.String()); len(got) < 2 {
			t.Errorf("refer over invite: %q", got)
		}
		if !phones[1].OnHook() {
			t.Error("the called phone rings on for the call that was replaced")
		}
		w.mustDo(t, 200, "POST", "201/202?sipMethod=invite")
		time.Sleep(3 * time.Second)
		if got := w.states("201/202"); got != "201 Confirmed, 202 Early" {
			t.Errorf("invite over refer: %s", got)
		}
		w.mustDo(t, 406, "POST", "201/202?sipMethod=invite")
		w.mustDo(t, 200, "DELETE", "201/202")
		w.mustDo(t, 200, "POST", "201/202?sipMethod=invite") // an ended call is none in progress
		time.Sleep(time.Second)
		w.mustDo(t, 200, "DELETE", "201/202")
		time.Sleep(time.Minute)
		if !phones[0].OnHook() || !phones[1].OnHook() {
			t.Error("a phone is off-hook")
		}
	})
}

func TestAPhoneThatIsGoneKeepsNobodyFromTheNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, proxyAddr)
		defer w.close()
		phones, end := w.phones(siptest.Script{HangUpAfter: 5 * time.Second}, siptest.Script{Bye: siptest.Bye{Silent: true}})
		defer end()
		w.mustDo(t, 200, "POST", "201/202?sipMethod=invite")
		time.Sleep(7 * time.Second)
		if got := w.states("201/202"); got != "201 Terminated, 202 Terminated" {
			t.Errorf("while 202 does not answer the BYE: %s", got)
		}
		w.mustDo(t, 200, "POST", "201/202?sipMethod=invite")
		time.Sleep(3 * time.Second)
		start := time.Now()
		w.mustDo(t, 200, "DELETE", "201/202")
		if took := time.Since(start); took > placeTimeout {
			t.Errorf("DELETE took %v", took)
		}
		w.mustDo(t, 200, "POST", "201/202?sipMethod=invite")
		time.Sleep(time.Minute)
		if !phones[0].OnHook() {
			t.Error("201 is off-hook")
		}
	})
}

func TestOfManyInvitesAtOnceOneIsPlaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, proxyAddr)
		defer w.close()
		phones, end := w.phones(siptest.Script{}, siptest.Script{})
		defer end()
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[int]int{}
		for range 20 {
			wg.Go(func() {
				a := w.do("POST", "/callcontroller/201/202?sipMethod=invite")
				mu.Lock()
				defer mu.Unlock()
				got[a.Code]++
			})
		}
		wg.Wait()
		if diff := cmp.Diff(map[int]int{200: 1, 406: 19}, got); diff != "" {
			t.Error(diff)
		}
		time.Sleep(time.Second)
		if n := len(phones[0].Requests("INVITE")); n > 2 {
			t.Errorf("the phone was called %d times", n-1)
		}
		w.mustDo(t, 200, "DELETE", "201/202")
		time.Sleep(time.Minute)
	})
}
