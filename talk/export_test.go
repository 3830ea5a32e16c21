package talk

import "sync"

// FirstPause is how soon a lost connection is made again.
const FirstPause = firstPause

// Checksum is how messages are signed.
func Checksum(secret string, signed ...string) string { return checksum(secret, signed...) }

// Between has f called once, when the lock is given up next between what is
// decided and what follows from it.
func (s *Session) Between(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.between = sync.OnceFunc(f)
}
