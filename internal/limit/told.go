package limit

import (
	"encoding/json"
	"net/netip"
	"time"
)

// maxTold bounds what is read of what another node tells of a failure, in bytes.
const maxTold = 8 << 10

// toldFailure is a failure as nodes tell of it.
type toldFailure struct {
	Who []toldSuspect `json:"who"`
	// Forgiven says that an attempt which was counted before was right.
	Forgiven bool `json:"forgiven,omitempty"`
}

type toldSuspect struct {
	Addr netip.Addr `json:"addr,omitzero"`
	Name []byte     `json:"name,omitempty"` // it need not be UTF-8
}

// Share has other nodes count the same failures: tell is called with each, without a
// lock, and must return at once. What other nodes were given so goes to hear. Call it
// before anything is counted.
func (f *Failures) Share(now func() time.Time, tell func([]byte)) (hear func([]byte)) {
	f.tell = tell
	return func(data []byte) {
		var told toldFailure
		if len(data) > maxTold || json.Unmarshal(data, &told) != nil || len(told.Who) > failureWays {
			return
		}
		who := make([]Suspect, len(told.Who))
		for i, s := range told.Who {
			who[i] = Suspect{Addr: s.Addr, Name: string(s.Name)}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if told.Forgiven {
			f.forgive(now(), who)
		} else {
			f.fail(now(), who)
		}
	}
}

// told tells the other nodes, if there are any.
func (f *Failures) told(forgiven bool, who []Suspect) {
	if f.tell == nil {
		return
	}
	t := toldFailure{Forgiven: forgiven}
	for i := range who {
		if len(who[i].Name) <= maxToldName {
			t.Who = append(t.Who, toldSuspect{Addr: who[i].Addr, Name: []byte(who[i].Name)})
		}
	}
	if data, err := json.Marshal(&t); err == nil && len(t.Who) > 0 {
		f.tell(data)
	}
}

// maxToldName bounds a suspect's name as it is told: who calls himself by a longer one is
// no user, and is counted by his address all the same.
const maxToldName = 1 << 10
