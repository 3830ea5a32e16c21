package sipflow

import (
	"context"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
	"sipxrest/sipflow/wire"
)

var crashAll = flag.Bool("crash", false, "crash at each message of each ladder, and not at a part of them")

// node is a node of a cluster, for the scenarios that run on a network.
type node struct {
	keeper *fakeKeeper
	hop    string
	adjust []func(*Config)
	rig    *rig
	plain  bool // its sockets are those of every test
}

// clusters are the networks whose first switchboard is a node.
var clusters sync.Map // *siptest.Network → *node

// inCluster has a switchboard be a node, where the test wants that.
func inCluster(n *siptest.Network, hop string, cfg *Config, adjust []func(*Config)) *node {
	v, ok := clusters.Load(n)
	if !ok {
		return nil
	}
	o := v.(*node)
	kept(o.keeper)(cfg)
	o.hop, o.adjust = hop, adjust
	o.plain = slices.Equal(cfg.Listen, []string{"udp:" + ourAddr, "tcp:" + ourAddr})
	return o
}

func (o *node) runs(r *rig) {
	if o != nil {
		o.rig = r
	}
}

func init() {
	flowtest.Also = func(t *testing.T, name string, run func(t *testing.T, n *siptest.Network)) {
		byItself := strings.HasPrefix(name, "lost-") || strings.HasPrefix(name, "kept-") // its node dies
		if name == "" || testing.Short() || byItself {
			return
		}
		messages := inClusterToo(t, name, run)
		share, first := 40, int(time.Now().UnixNano()%40)
		if *crashAll {
			share, first = 1, 0
		}
		for i := range messages {
			if i%share == first%share {
				crashAt(t, name, i+1, run)
			}
		}
	}
}

// written are scenarios of which the order of messages and writes is in golden files.
var written = map[string]bool{"connected": true, "calling-busy": true, "challenged-401": true, "asterisk-is-not-ready-for-a-while": true,
	"refer-refused-phones-are-bridged": true, "redirect-of-calling-is-followed": true, "answer-crosses-cancel": true,
	"bridged-client-hangs-up": true, "bridged-calling-hangs-up": true, "bridged-hold-and-resume": true, "mute-called": true,
	"hold-called": true,
	"transferred": true, "blind-busy": true, "attended-leaver-hangs-up": true, "replaced-when-answered": true, "join": true,
	"dial-digits": true, "dial-no-answer": true, "talk-we-hang-up": true, "talk-inbound-we-hang-up": true,
	"inbound-answered": true, "inbound-held-digits-connected": true, "inbound-target-busy": true, "inbound-delayed-offer": true}

// timed are scenarios whose phones change their minds at a certain millisecond.
var timed = map[string]bool{"attended-leaver-does-not-take-the-target": true}

// inClusterToo runs a scenario at a node of a cluster. What it expects is the same. It
// returns how many messages there were.
func inClusterToo(t *testing.T, name string, run func(t *testing.T, n *siptest.Network)) (messages int) {
	t.Run("in a cluster", func(t *testing.T) {
		if timed[name] {
			messages = 100
			return
		}
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			o := &node{keeper: newFakeKeeper()}
			clusters.Store(n, o)
			defer clusters.Delete(n)
			o.keeper.log = func(format string, args ...any) { n.Note(fmt.Sprintf(format, args...)) }
			run(t, n)
			if o.keeper.empty(t); written[name] {
				flowtest.Golden(t, name+"-written", n.Ladder())
			}
			messages = len(n.Packets())
			if t.Failed() {
				t.Log(n.Ladder())
			}
		})
	})
	return messages
}

// deaf is a T whose failures nobody hears: a scenario does not know that its node dies.
func deaf(ctx context.Context) *testing.T {
	t := new(testing.T)
	f := reflect.ValueOf(t).Elem().FieldByName("ctx")
	reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().Set(reflect.ValueOf(ctx)) //nolint:gosec // there is no other way
	return t
}

// cleanUp does what a deaf T was asked to do at its end.
func cleanUp(t *testing.T) {
	f := reflect.ValueOf(t).Elem().FieldByName("cleanups")
	todo := *(*[]func())(unsafe.Pointer(f.UnsafeAddr())) //nolint:gosec // likewise
	for _, do := range slices.Backward(todo) {
		do()
	}
}

const (
	leaseTime = 5 * time.Second  // until a dead node's calls are taken over
	aloneTime = 45 * time.Second // from the crash until nobody may ring or talk alone
)

// crashAt has the node of a scenario die with one of its messages. Another one takes
// over what was committed.
func crashAt(t *testing.T, name string, at int, run func(t *testing.T, n *siptest.Network)) {
	t.Run(fmt.Sprintf("dies at message %d", at), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			o := &node{keeper: newFakeKeeper()}
			o.keeper.log = func(format string, args ...any) { n.Note(fmt.Sprintf(format, args...)) }
			clusters.Store(n, o)
			defer clusters.Delete(n)
			dead := make(chan struct{})
			n.Observe = func(p siptest.Packet) {
				if p.N == at && o.rig != nil {
					o.keeper.close()
					n.Unplug("10.0.0.1")
					n.Note("the node dies")
					close(dead)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan struct{})
			go func() {
				defer close(over)
				scene := deaf(ctx)
				defer cleanUp(scene)
				defer func() { recover() }() // it does not know that its node dies
				run(scene, n)
			}()
			select {
			case <-dead:
				heirTakesOver(t, n, o)
			case <-over:
			}
			cancel()
			<-over
			time.Sleep(5 * time.Minute)
			n.Shut()
			if t.Failed() {
				t.Log(n.Ladder())
			}
		})
	})
}

// heirTakesOver has another node take over what the dead one has committed.
func heirTakesOver(t *testing.T, n *siptest.Network, o *node) {
	if !o.plain {
		return
	}
	died := time.Now()
	time.Sleep(leaseTime)
	k := newFakeKeeper()
	k.log = o.keeper.log
	heir := newRigAt(t, n, "heir", heirAddr, o.hop, append(slices.Clone(o.adjust), kept(k))...)
	defer heir.shutdown() //nolint:errcheck // there are phones that do not respond
	results := map[string]string{}
	var mu sync.Mutex
	for id, state := range o.keeper.left() {
		k.mu.Lock()
		k.states[id] = state
		k.mu.Unlock()
		err := heir.sw.Adopt(t.Context(), Adopted{ID: id, State: state, Epoch: 1, Keep: true}, func(result string, err error) {
			mu.Lock()
			defer mu.Unlock()
			results[id] = fmt.Sprint(result, " ", err)
			n.Note("taken over: " + result)
		})
		if err != nil {
			t.Errorf("Adopt of %s: %v", stateLine(state), err)
		}
	}
	time.Sleep(time.Until(died.Add(aloneTime)))
	synctest.Wait()
	mine := map[string]bool{}
	for i := range heir.sw.shards {
		s := &heir.sw.shards[i]
		s.mu.Lock()
		for _, l := range s.legs {
			mine[l.callID] = true
		}
		s.mu.Unlock()
	}
	for _, wrong := range alone(n, mine) {
		t.Error(wrong)
	}
	for _, p := range n.Packets() {
		if p.From.String() == heirAddr && p.Status() == 0 {
			m, err := wire.Parse(slices.Clone(p.Data))
			if err == nil && (p.Method() == "REFER" || p.Method() == "INVITE" && len(m.ToTag()) == 0) {
				t.Errorf("the heir sends a second %s", p.Method())
			}
		}
	}
}

// alone says which phones ring, or are up in a dialog of which nobody knows. mine are the
// dialogs that the heir has.
func alone(n *siptest.Network, mine map[string]bool) (wrong []string) {
	type end struct{ callID, phone string }
	type state struct {
		what string
		at   time.Time
	}
	ours := map[string]bool{} // Call-IDs
	at := map[end]state{}
	for _, p := range n.Packets() {
		m, err := wire.Parse(slices.Clone(p.Data))
		if err != nil {
			continue
		}
		from, to := p.From.Addr().String(), p.To.Addr().String()
		id := string(m.Get(wire.CallID))
		node := func(a string) bool { return a == "10.0.0.1" || a == "10.0.0.8" }
		if node(from) || node(to) {
			ours[id] = true
		}
		if !ours[id] || p.Lost && from == "10.0.0.1" {
			continue
		}
		out, in := end{id, from}, end{id, to}
		switch method, code := p.Method(), p.Status(); {
		case code == 0 && method == "INVITE" && len(m.ToTag()) == 0:
			if _, known := at[in]; !known {
				at[in] = state{"called", p.Sent}
			}
		case method == "INVITE" && code > 100 && code < 200 && at[out].what == "called":
			at[out] = state{"rings", p.Sent}
		case code == 0 && (method == "CANCEL" || method == "BYE"):
			at[in], at[out] = state{"over", p.Sent}, state{"over", p.Sent}
		case code == 481: // it says that its dialog is over
			at[out] = state{"over", p.Sent}
		case method == "INVITE" && code >= 300:
			for _, e := range [...]end{in, out} {
				if at[e].what == "rings" || at[e].what == "called" {
					at[e] = state{"over", p.Sent}
				}
			}
		case method == "INVITE" && code >= 200 && (at[out].what == "rings" || at[out].what == "called"):
			at[out] = state{"answered", p.Sent}
		case method == "INVITE" && code >= 200 && node(from) && at[in].what == "":
			at[in] = state{"up", p.Sent}
		case code == 0 && method == "ACK" && at[in].what == "answered":
			at[in] = state{"up", p.Sent}
		}
	}
	for e, s := range at {
		if node := e.phone == "10.0.0.1" || e.phone == "10.0.0.8"; node || strings.HasPrefix(proxyAddr, e.phone+":") {
			continue
		}
		switch s.what {
		case "rings":
			wrong = append(wrong, e.phone+" rings")
		case "up":
			if !mine[e.callID] {
				wrong = append(wrong, e.phone+" is up, and nobody knows of it")
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}
