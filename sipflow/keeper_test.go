package sipflow

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// noKeeper is a Keeper that keeps nothing and takes no time.
type noKeeper struct{ done chan struct{} }

func newNoKeeper() noKeeper {
	k := noKeeper{make(chan struct{})}
	close(k.done)
	return k
}

func (k noKeeper) Claim(context.Context, Key, string, []byte) error { return nil }
func (k noKeeper) Keep(string, []byte) <-chan struct{}              { return k.done }
func (k noKeeper) Move(string, Key, Key, []byte)                    {}
func (k noKeeper) Drop(string, []byte, time.Duration)               {}
func (k noKeeper) Holds() bool                                      { return true }

// A single node pays nothing for what it does not have.
func TestASingleNodeKeepsNothing(t *testing.T) {
	sw := &Switchboard{}
	c := &Call{sw: sw}
	l := &Leg{call: c}
	r := new(forward)
	answer := &Success{leg: l, tx: &clientTx{}}
	ctx := t.Context()
	invite := &clientTx{method: "INVITE", leg: l}
	if n := testing.AllocsPerRun(100, func() {
		c.keeps(stepFirst)
		l.keepsLeg()
		c.at(stepSecond)
		c.keep(stepJoining)
		c.keepIfNew()
		c.sees()
		c.Changed()
		c.keepsAside(l)
		c.asideOver(l)
		c.keptFork(l, 1)()
		c.keptBeforeRefer()
		c.keptBridge(ctx, nil)()
		c.keptChanging(r)
		c.keptMove(Key{})
		c.keptToTheEnd()
		c.keptOver()
		l.kept.ackSent(answer.tx)
		l.kept.answered(nil, answer)
		l.kept.tells(nil)
		if l.kept != nil || c.forgotten() || !sw.holds() || c.keptFirst(ctx) != nil || c.keptBeforeAck(answer) != nil ||
			sw.mayStart(invite) != nil {
			t.Error("something is kept")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// placeWith places a call to a phone that rings, at a node of that keeper.
func placeWith(t *testing.T, k *fakeKeeper, script siptest.Script, do func(r *rig, phone *siptest.Phone, c *Call, err error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		phone := n.Phone("201", phoneAddr, script)
		defer phone.Close()
		r := newRig(t, n, phoneAddr, kept(k))
		defer r.stop()
		c, err := r.sw.Place(t.Context(), spec(), Refer)
		do(r, phone, c, err)
	})
}

func TestAKeyOfAnotherNodeIsRefused(t *testing.T) {
	k := newFakeKeeper()
	k.held = &HeldError{Node: "b", ID: "call_b"}
	placeWith(t, k, siptest.Script{}, func(_ *rig, phone *siptest.Phone, _ *Call, err error) {
		held, ok := errors.AsType[*HeldError](err)
		if !ok || held.Node != "b" || !errors.Is(err, ErrInProgress) || len(phone.Log()) != 0 {
			t.Errorf("Place: %v; the phone saw %v", err, phone.Log())
		}
	})
}

// Observers hear of a call before its key is claimed: GETs of it are answered meanwhile.
// One that does not get its key ends for them as well, once, and keeps nothing.
func TestACallThatGetsNoKeyEndsForItsObservers(t *testing.T) {
	for name, c := range map[string]struct {
		of   func(k *fakeKeeper)
		want error
	}{
		"held":   {func(k *fakeKeeper) { k.held = &HeldError{Node: "b", ID: "call_b"} }, ErrInProgress},
		"away":   {func(k *fakeKeeper) { k.away = true }, ErrNotOwner},
		"silent": {func(k *fakeKeeper) { k.slow = time.Minute }, ErrNotOwner},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				phone := n.Phone("201", phoneAddr, siptest.Script{})
				defer phone.Close()
				k := newFakeKeeper()
				c.of(k)
				r := newRig(t, n, phoneAddr, kept(k))
				defer r.stop()
				var told []EventKind // of the beginning and the end
				var why error
				r.sw.observers = append(r.sw.observers, func(e *Event) {
					if e.Kind == Placed || e.Kind == Ended {
						told, why = append(told, e.Kind), e.Err
					}
				})
				ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
				defer stop()
				if _, err := r.sw.Place(ctx, spec(), Refer); !errors.Is(err, c.want) {
					t.Errorf("Place: %v, want %v", err, c.want)
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if !slices.Equal(told, []EventKind{Placed, Ended}) || !errors.Is(why, c.want) {
					t.Errorf("told of %v, at last of %v, want %v", told, why, c.want)
				}
				if len(phone.Log()) != 0 || len(k.states) != 0 || len(k.records) != 0 || r.sw.Active() != 0 {
					t.Errorf("left: %d states, %d records, %d calls; the phone saw %v", len(k.states), len(k.records), r.sw.Active(), phone.Log())
				}
			})
		})
	}
}

func TestNobodyRingsWhileTheStoreIsAway(t *testing.T) {
	k := newFakeKeeper()
	k.away = true
	placeWith(t, k, siptest.Script{}, func(_ *rig, phone *siptest.Phone, _ *Call, err error) {
		if !errors.Is(err, ErrNotOwner) || len(phone.Log()) != 0 {
			t.Errorf("Place: %v; the phone saw %v", err, phone.Log())
		}
	})
}

// A store that chooses a leader is silent for longer than a POST waits, and the lease
// holds meanwhile. No hop is to blame.
func TestAStoreThatIsSilentIsNoHopThatIsUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		phone := n.Phone("201", phoneAddr, siptest.Script{})
		defer phone.Close()
		k := newFakeKeeper()
		k.slow = time.Minute
		r := newRig(t, n, phoneAddr, kept(k))
		defer r.stop()
		for _, wait := range []time.Duration{time.Second, 4 * time.Second, time.Minute} { // less, the same and more than a hop has
			ctx, stop := context.WithTimeout(t.Context(), wait)
			_, err := r.sw.Place(ctx, spec(), Refer)
			stop()
			if !errors.Is(err, ErrNotOwner) || errors.Is(err, ErrUnreachable) {
				t.Errorf("Place within %v: %v", wait, err)
			}
			synctest.Wait()
		}
		if len(phone.Log()) != 0 {
			t.Errorf("the phone saw %v", phone.Log())
		}
	})
}

// The store goes while the phone rings: its 200 is acknowledged in the end, nobody is
// referred, and the phone is hung up.
func TestAnACKGoesOutInTheEndWithoutTheStore(t *testing.T) {
	k := newFakeKeeper()
	placeWith(t, k, siptest.Script{Ring: 2 * time.Second}, func(r *rig, phone *siptest.Phone, c *Call, err error) {
		if err != nil {
			t.Fatal(err)
		}
		k.mu.Lock()
		k.away = true
		k.mu.Unlock()
		<-c.Done()
		if !errors.Is(c.Err(), ErrNotOwner) {
			t.Errorf("it ended with %v", c.Err())
		}
		log := strings.Join(phone.Log(), "\n")
		if !strings.Contains(log, "ACK") || !strings.Contains(log, "BYE") || strings.Contains(log, "REFER") {
			t.Errorf("the phone saw\n%s\n%s", log, r.net.Ladder())
		}
		synctest.Wait()
	})
}

func TestARingingPhoneIsStoppedWithoutTheStore(t *testing.T) {
	k := newFakeKeeper()
	placeWith(t, k, siptest.Script{NeverAnswer: true}, func(r *rig, phone *siptest.Phone, c *Call, err error) {
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		k.mu.Lock()
		k.away = true
		k.mu.Unlock()
		c.HangUp(ErrHungUpByUser)
		<-c.Done()
		if log := strings.Join(phone.Log(), "\n"); !strings.Contains(log, "CANCEL") {
			t.Errorf("the phone saw\n%s\n%s", log, r.net.Ladder())
		}
	})
}

// Tags and branches say whose they are; those of a single node are as random as before.
func TestIDsCarryTheNumberOfTheirNode(t *testing.T) {
	sw := &Switchboard{}
	for _, node := range []uint16{0, 1, 7, maxNode} {
		sw.cfg.NodeNumber = func() uint16 { return node }
		seen := map[uint64]bool{}
		for shard := range uint64(numShards) {
			id := sw.idIn(0xabcdef0123456780 | shard)
			if id%numShards != shard || node != 0 && id/numShards&maxNode != uint64(node) {
				t.Errorf("node %d, shard %d: %016x", node, shard, id)
			}
			seen[id>>16] = true
		}
		if len(seen) < numShards-1 {
			t.Errorf("node %d: only %d of %d are different", node, len(seen), numShards)
		}
	}
}

func TestAStateThatIsTooLongIsCutToItsFirstPart(t *testing.T) {
	s := fullState()
	s.legs[0].remote = make([]byte, maxState)
	b := s.bounded()
	got, err := decodeState(b)
	if err != nil || got.known || len(b) > maxState || len(got.legs) != 2 || got.legs[0].dialog != s.legs[0].dialog {
		t.Errorf("%d bytes: %+v, %v", len(b), got, err)
	}
}

// No state has a secret in it.
func TestNoSecretIsInAState(t *testing.T) {
	k := newFakeKeeper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		phone := n.Phone("201", phoneAddr, siptest.Script{NeverAnswer: true})
		defer phone.Close()
		r := newRig(t, n, phoneAddr, kept(k))
		defer r.stop()
		if _, err := r.sw.Place(t.Context(), spec(func(s *Spec) {
			s.ConfPIN = "271828"
			s.Credentials = Credentials{Username: "200", Password: "hidden-word", HA1: "hidden-word", HA1SHA256: "hidden-word"}
		}), Refer); err != nil {
			t.Fatal(err)
		}
		for _, state := range k.left() {
			text := string(state)
			if strings.Contains(text, "271828") || strings.Contains(text, "hidden-word") || !strings.Contains(text, "200@sipx.test") {
				t.Errorf("state %q", state)
			}
		}
		if len(k.left()) != 1 {
			t.Errorf("%d states", len(k.left()))
		}
	})
}

// States that this release, and those before, have written are read for ever: a file
// here is never changed. A new version of the second part adds one.
func TestStatesOfEachReleaseAreRead(t *testing.T) {
	file := filepath.Join("testdata", "states", fmt.Sprintf("version-%d.hex", stateVersion))
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(file), 0o755); err == nil {
			err = os.WriteFile(file, []byte(hex.EncodeToString(fullState().encode(nil))+"\n"), 0o644)
		}
		t.Fatalf("%s is new: add it. %v", file, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := decodeState(b); err != nil || !reflect.DeepEqual(s, fullState()) {
		t.Errorf("read %+v, %v", s, err)
	}
	if got := hex.EncodeToString(fullState().encode(nil)); got != hex.EncodeToString(b) {
		t.Error("the encoding of version 1 has changed: make it another version")
	}
}

// A node of a later release is hung up for: what this one does not know of its state it
// does not need for that.
func TestACallOfALaterReleaseIsHungUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		phone := n.Phone("201", phoneAddr, siptest.Script{NeverAnswer: true})
		defer phone.Close()
		k := newFakeKeeper()
		r := newRig(t, n, phoneAddr, kept(k))
		defer r.shutdown() //nolint:errcheck // it is dead
		c, err := r.sw.Place(t.Context(), spec(), Refer)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		k.close()
		n.Unplug("10.0.0.1")
		heir := newRigAt(t, n, "heir", heirAddr, phoneAddr)
		defer heir.stop()
		state := k.left()[c.ID()]
		at := stateHead + int(state[1])<<16 + int(state[2])<<8 + int(state[3])
		later := append(append([]byte(nil), state[:at]...), stateVersion+1, 0xff, 0xff)
		results := make(chan string, 1)
		err = heir.sw.Adopt(t.Context(), Adopted{ID: c.ID(), State: later, Epoch: 1, Keep: true},
			func(result string, _ error) { results <- result })
		if err != nil {
			t.Fatal(err)
		}
		if got := <-results; got != TakenHungUp {
			t.Errorf("it was %s", got)
		}
		if log := strings.Join(phone.Log(), "\n"); !strings.Contains(log, "CANCEL") {
			t.Errorf("the phone saw\n%s", log)
		}
	})
}

func TestWhatACallerIsRefusedWithIsKept(t *testing.T) {
	const invite = "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK1\r\n" +
		"Via: SIP/2.0/UDP 10.0.0.3;branch=z9hG4bK2\r\nRecord-Route: <sip:p;lr>\r\nf: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\n" +
		"i: x@y\r\nCSeq: 7 INVITE\r\nm: <sip:c@10.0.0.3>\r\nMax-Forwards: 70\r\n" +
		"Authorization: Digest secret\r\nContent-Type: application/sdp\r\nContent-Length: 4\r\n\r\nv=0\n"
	m, err := wire.Parse([]byte(invite))
	if err != nil {
		t.Fatal(err)
	}
	again, err := wire.Parse(minimal(m))
	if err != nil {
		t.Fatal(err)
	}
	vias := 0
	for range again.All(wire.Via) {
		vias++
	}
	if vias != 2 || string(again.FromTag()) != "1" || again.Seq() != 7 || again.Get(wire.RecordRoute) == nil ||
		again.Get(wire.Contact) == nil ||
		len(again.Body()) != 0 || again.Get(wire.Authorization) != nil {
		t.Errorf("kept\n%s", again.Raw())
	}
}
