package sipflow

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// FuzzAdopt has a node take over what another one may have written, or a disk has made of
// that. Nothing of it panics or stays; of what cannot be read nothing is sent.
func FuzzAdopt(f *testing.F) {
	for _, state := range someStates() {
		f.Add(state, uint32(1), true, uint16(0), byte(0))
		f.Add(state, uint32(1<<31), false, uint16(len(state)/2), byte(0xff))
	}
	f.Add([]byte{}, uint32(0), true, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, state []byte, epoch uint32, keep bool, at uint16, flip byte) {
		if len(state) > 4096 {
			return
		}
		state = bytes.Clone(state)
		if int(at) < len(state) {
			state[at] ^= flip
		}
		adoptAny(t, state, epoch, keep)
	})
}

// States that a disk or a wire has damaged in several places.
func TestDamagedStates(t *testing.T) {
	states, r := someStates(), rand.New(rand.NewPCG(1, 2))
	for range 600 / flowtest.Share(10) {
		state := bytes.Clone(states[r.IntN(len(states))])
		for range 1 + r.IntN(4) {
			at := r.IntN(len(state))
			switch r.IntN(4) {
			case 0:
				state[at] = byte(r.IntN(256))
			case 1:
				state[at] = 0xff
			case 2:
				state = append(state[:at+1], state[min(len(state), at+1+r.IntN(5)):]...)
			case 3:
				state = slices.Insert(state, at, byte(r.IntN(256)), 0x80, 0xff)
			}
		}
		adoptAny(t, state, uint32(r.Uint64()), r.IntN(2) == 0)
	}
}

// adoptAny has a node take over whatever there is.
func adoptAny(t *testing.T, state []byte, epoch uint32, keep bool) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRigAt(t, n, "heir", heirAddr, proxyAddr, func(cfg *Config) { cfg.Keeper = newShelf() })
		var log syncBuffer
		r.log.b.Store(&log)
		s, unreadable := decodeState(state)
		id := ""
		if unreadable == nil {
			id = s.id
		}
		told := 0
		err := r.sw.Adopt(t.Context(), Adopted{ID: id, State: state, Epoch: epoch, Keep: keep}, func(string, error) { told++ })
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if unreadable != nil && err == nil {
			t.Error("a state that cannot be read was taken over")
		}
		if sent := n.Arrived(); err != nil && sent != 0 {
			t.Errorf("%d messages were sent after %v", sent, err)
		}
		if want := map[bool]int{true: 1, false: 0}[err == nil]; told != want {
			t.Errorf("it was told %d times after %v", told, err)
		}
		if n := r.sw.Active(); n != 0 {
			t.Errorf("%d calls are left", n)
		}
		if n := r.sw.faults.Count.Load(); n != 0 {
			t.Errorf("%d internal faults: %s", n, log.String())
		}
		r.shutdown() //nolint:errcheck // what is made up may take its time
	})
}

// someStates are those of calls that a node has begun.
func someStates() (states [][]byte) {
	up := legMore{party: "202@sipx.test", tag: "b", record: 2, version: 3, lines: 1, told: []byte(sdpOf(5000)),
		remote:  []byte(sdpOf(4000)),
		session: &sessionState{interval: 90 * time.Second, ours: true, due: time.Second, end: 2 * time.Second}}
	leg := func(seat legSeat, at legAt) keptLeg {
		return keptLeg{seat: seat, at: at, id: 0x1234567890abcd00 + uint64(seat), cseq: 7, dialog: dialog{callID: "c1@10.0.0.1",
			local:  "<sip:200@sipx.test>;tag=1234567890abcd00",
			remote: "<sip:202@sipx.test>;tag=b", target: "sip:202@10.0.0.3", next: "sip:202@10.0.0.3"}, legMore: up,
			invite: &inviteState{branch: 77, via: "UDP 10.0.0.1:5060", uri: "sip:202@sipx.test", to: "<sip:202@sipx.test>",
				seq: 1, offered: []byte(sdpOf(5000))},
			caller: &callerState{invite: []byte(rawInvite()), network: "udp", source: cannedAddr}}
	}
	for step := range numSteps {
		for at := range numAts {
			s := callState{id: "call_1", key: Key{"200@sipx.test", "201@sipx.test", "202@sipx.test"},
				flow: FlowKind(step) % numFlowKinds, step: step,
				method: MethodInvite, legs: []keptLeg{leg(seatCalling, at), leg(seatCalled, atUp), leg(seatTarget, at)}, known: true}
			s.changing, s.transfer = at == atAnswered, &transferState{report: TransferReport{N: 1, To: "203@sipx.test"},
				attended: at == atUp}
			s.record = &recordState{stage: StageConnected, count: 2, legs: []legRecordState{{report: LegReport{N: 1,
				Role: RoleCalling}, state: legAnswered},
				{report: LegReport{N: 2, Role: RoleCalled}, state: legAnswered}}}
			states = append(states, s.encode(nil))
		}
	}
	return states
}
