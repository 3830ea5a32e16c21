package callcontroller

import (
	"slices"
	"strings"
	"time"

	"sipxrest/schema"
	"sipxrest/sipflow"
)

const (
	// sipXrest: an ended dialog is listed for so long.
	listTerminated = 8 * time.Second
	// maxDialogs bounds what transfers in quick succession leave behind; three
	// is the most that a call has at once.
	maxDialogs = 16
	// maxKeys bounds the keys under which a call that is transferred again and
	// again can be read.
	maxKeys = 5
)

// running is the part of a record that is given up when its call has ended and
// its dialogs need not be listed any more. The record's mutex guards it.
type running struct {
	keys    []sipflow.Key // that the call has held, the present one last
	dialogs []dialog      // in the order of their INVITEs
}

type dialog struct {
	sipflow.Dialog
	until time.Time // when it is not listed any more; zero while it is not terminated
}

// maxID bounds a dialog's name, of which the phone chooses a part.
const maxID = 512

// dialled takes the new state of a dialog.
func (r *record) dialled(e *sipflow.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run == nil {
		return // the call is over
	}
	r.unlist(e.At)
	d := dialog{Dialog: *e.Dialog}
	if len(d.ID) > maxID { // with a tag of the phone's that names nothing
		d.ID = strings.Clone(d.ID[:maxID])
	}
	if d.State == sipflow.Terminated {
		d.until = e.At.Add(listTerminated)
	}
	r.version++
	list := &r.run.dialogs
	for i := range *list {
		if (*list)[i].Leg == d.Leg {
			(*list)[i] = d
			return
		}
	}
	if len(*list) == maxDialogs {
		i := slices.IndexFunc(*list, func(d dialog) bool { return !d.until.IsZero() })
		*list = slices.Delete(*list, max(i, 0), max(i, 0)+1)
	}
	*list = append(*list, d)
}

// unlist forgets the dialogs whose time is over. That changes the document.
func (r *record) unlist(now time.Time) {
	if r.run == nil {
		return
	}
	before := len(r.run.dialogs)
	r.run.dialogs = slices.DeleteFunc(r.run.dialogs, func(d dialog) bool { return !d.until.IsZero() && !now.Before(d.until) })
	r.version += uint32(before - len(r.run.dialogs))
	if r.ended && len(r.run.dialogs) == 0 {
		r.run = nil
	}
}

// forgetDialogs lists none any more. That changes the document, if somebody has
// not read it since.
func (r *record) forgetDialogs() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run != nil {
		r.version += uint32(len(r.run.dialogs))
		r.run = nil
	}
}

// appendDialogs appends the record's dialogs to dst and returns the version
// that they are.
func (r *record) appendDialogs(dst []schema.Dialog) ([]schema.Dialog, uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unlist(time.Now())
	if r.run != nil {
		for i := range r.run.dialogs {
			d := &r.run.dialogs[i]
			dst = append(dst, schema.Dialog{ID: d.ID, LocalParty: d.Local, RemoteParty: d.Remote, State: string(d.State)})
		}
	}
	return dst, r.version
}

// moved adds the key that the call holds after a transfer, and returns those
// that are given up because there are too many. ok is false when the call is
// over.
func (r *record) moved(to sipflow.Key) (tooMany []sipflow.Key, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run == nil || r.ended {
		return nil, false
	}
	keys := slices.DeleteFunc(r.run.keys, func(k sipflow.Key) bool { return k == to })
	if n := len(keys) + 1 - maxKeys; n > 0 {
		tooMany = slices.Clone(keys[:n])
		keys = slices.Delete(keys, 0, n)
	}
	r.run.keys = append(keys, to)
	return tooMany, true
}
