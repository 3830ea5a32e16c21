package digest

import (
	"container/heap"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

const (
	// NonceLife is how long a nonce may be used.
	NonceLife = 5 * time.Minute
	// maxNonces bounds the nonces that are remembered, some 120 bytes each.
	maxNonces = 1 << 17
	// ncWindow is how far behind the highest nc of its nonce a request may
	// come: the requests that a client may have under way at once.
	ncWindow = 256

	nonceIDLen  = 16 // time and random
	nonceSigLen = 16
	nonceLen    = nonceIDLen + nonceSigLen
)

// NonceID tells nonces apart: the time of issue in nanoseconds since the key
// was made, and eight random bytes. Not the time of day: when a clock is set,
// neither may a used nonce come to life nor a new one look old.
type NonceID [nonceIDLen]byte

func (id NonceID) issued() int64 { return int64(binary.BigEndian.Uint64(id[:8])) }

// Nonces issues nonces and remembers which were used. A nonce carries its
// own proof, so that one which was only issued costs no memory; it is
// remembered from its first good use, so that strangers cannot push out the
// nonces of users. Its methods may be called from any goroutine.
type Nonces struct {
	key   [32]byte
	start time.Time

	mu    sync.Mutex
	used  map[NonceID]*nonceUse
	order nonceHeap // by time of issue
	floor int64     // older nonces that are not in used have been forgotten
	max   int       // maxNonces
}

// nonceUse is which nc of a nonce were used.
type nonceUse struct {
	id      NonceID
	highest uint32
	seen    [ncWindow / 64]uint64 // bit nc%ncWindow, for the last ncWindow below highest
	spent   bool                  // used without nc: not again
}

// NewNonces makes a key; nonces of other Nonces are not good by it.
func NewNonces(now time.Time) *Nonces {
	n := &Nonces{start: now, used: make(map[NonceID]*nonceUse), floor: -1, max: maxNonces}
	rand.Read(n.key[:]) // never fails
	return n
}

// Issue makes a nonce for scope, which names where it is good: a listener or a
// peer, and the realm.
func (n *Nonces) Issue(scope string, now time.Time) string {
	var raw [nonceLen]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(now.Sub(n.start)))
	rand.Read(raw[8:nonceIDLen])
	sig := n.sign(scope, raw[:nonceIDLen])
	copy(raw[nonceIDLen:], sig[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func (n *Nonces) sign(scope string, id []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, n.key[:])
	mac.Write(id)
	mac.Write([]byte(scope))
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	return sum
}

// Verify reports whether nonce was issued for scope less than NonceLife ago.
func (n *Nonces) Verify(nonce, scope string, now time.Time) (NonceID, bool) {
	var raw [nonceLen]byte
	if len(nonce) != base64.RawURLEncoding.EncodedLen(nonceLen) {
		return NonceID{}, false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(raw[:], []byte(nonce)); err != nil {
		return NonceID{}, false
	}
	sig := n.sign(scope, raw[:nonceIDLen])
	if !hmac.Equal(sig[:nonceSigLen], raw[nonceIDLen:]) {
		return NonceID{}, false
	}
	id := NonceID(raw[:nonceIDLen])
	return id, n.age(id, now) < NonceLife
}

func (n *Nonces) age(id NonceID, now time.Time) time.Duration {
	return now.Sub(n.start) - time.Duration(id.issued())
}

// Use marks nc of a verified nonce as used and reports whether it was not
// before. nc 0 stands for a response without qop, which may come once and
// only alone.
func (n *Nonces) Use(id NonceID, nc uint32, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.order) > 0 && n.age(n.order[0].id, now) >= NonceLife {
		n.forget()
	}
	use := n.used[id]
	if use == nil {
		if id.issued() <= n.floor {
			return false
		}
		for len(n.order) >= n.max {
			n.forget()
		}
		use = &nonceUse{id: id}
		n.used[id] = use
		heap.Push(&n.order, use)
	} else if nc == 0 {
		return false
	}
	return use.mark(nc)
}

// Len returns how many nonces are remembered.
func (n *Nonces) Len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.used)
}

// forget drops the oldest nonce. Whatever is as old is refused from now on,
// because nobody knows any more whether it was used.
func (n *Nonces) forget() {
	oldest := heap.Pop(&n.order).(*nonceUse)
	delete(n.used, oldest.id)
	n.floor = max(n.floor, oldest.id.issued())
}

func (u *nonceUse) mark(nc uint32) bool {
	if u.spent {
		return false
	}
	if nc == 0 {
		u.spent = true
		return true
	}
	switch {
	case nc > u.highest:
		if nc-u.highest >= ncWindow {
			u.seen = [len(u.seen)]uint64{}
		} else {
			for i := u.highest + 1; i < nc; i++ {
				u.clear(i)
			}
		}
		u.highest = nc
	case u.highest-nc >= ncWindow:
		return false // too long ago to know
	case u.seen[nc%ncWindow/64]&(1<<(nc%64)) != 0:
		return false
	}
	u.seen[nc%ncWindow/64] |= 1 << (nc % 64)
	return true
}

func (u *nonceUse) clear(nc uint32) { u.seen[nc%ncWindow/64] &^= 1 << (nc % 64) }

// nonceHeap is a container/heap with the oldest nonce first.
type nonceHeap []*nonceUse

func (h nonceHeap) Len() int           { return len(h) }
func (h nonceHeap) Less(i, j int) bool { return h[i].id.issued() < h[j].id.issued() }
func (h nonceHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *nonceHeap) Push(x any)        { *h = append(*h, x.(*nonceUse)) }
func (h *nonceHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
