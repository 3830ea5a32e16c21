package limit

import "sync"

// maxShared bounds the names that are remembered of each other node, some 60 bytes each:
// what a node tells must not grow this one without bound.
const maxShared = 1 << 16

// A Shared is a count by name that several nodes keep together: each knows its own part
// exactly, and of the others what they told last. A nil Shared is that of a node which is
// alone: nobody else has anything. Its methods may be called from any goroutine.
type Shared struct {
	changes func() // told, without the lock, that there is something to tell

	mu      sync.Mutex
	own     map[string]int
	changed map[string]struct{} // names whose own count the others do not know
	of      map[string]map[string]int
	others  map[string]int // the sum of all in of
}

// NewShared makes a count. changes is told whenever there is something to tell; it must
// return at once.
func NewShared(changes func()) *Shared {
	return &Shared{changes: changes, own: map[string]int{}, changed: map[string]struct{}{}, of: map[string]map[string]int{}, others: map[string]int{}}
}

// Note says that this node's own count of a name is n now.
func (s *Shared) Note(name string, n int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	if n > 0 {
		s.own[name] = n
	} else {
		delete(s.own, name)
	}
	s.changed[name] = struct{}{}
	s.mu.Unlock()
	s.changes()
}

// Others returns how many of a name the other nodes have.
func (s *Shared) Others(name string) int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.others[name]
}

// Changes returns this node's counts that were not told yet, 0 for a name that has none
// any more. With all they are all counts that there are.
func (s *Shared) Changes(all bool) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := make(map[string]int, len(s.changed))
	for name := range s.changed {
		told[name] = s.own[name]
	}
	clear(s.changed)
	if all {
		for name, n := range s.own {
			told[name] = n
		}
	}
	return told
}

// Heard takes what a node has told. With all the node has nothing else; otherwise names
// that are not there are as before.
func (s *Shared) Heard(node string, all bool, counts map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if all {
		s.forget(node)
	}
	its := s.of[node]
	if its == nil {
		its = make(map[string]int, len(counts))
		s.of[node] = its
	}
	for name, n := range counts {
		was, known := its[name]
		if n = max(n, 0); n == 0 {
			delete(its, name)
		} else {
			if !known && len(its) >= maxShared {
				continue
			}
			its[name] = n
		}
		s.add(name, n-was)
	}
}

// Forget takes off what a node had that is no more.
func (s *Shared) Forget(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(node)
}

// forget is Forget with s.mu held.
func (s *Shared) forget(node string) {
	for name, n := range s.of[node] {
		s.add(name, -n)
	}
	delete(s.of, node)
}

// add changes the others' sum of a name. s.mu is held.
func (s *Shared) add(name string, n int) {
	if n = s.others[name] + n; n > 0 {
		s.others[name] = n
	} else {
		delete(s.others, name)
	}
}

// Nodes returns the nodes of which something is counted.
func (s *Shared) Nodes() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for node := range s.of {
		all = append(all, node)
	}
	return all
}
