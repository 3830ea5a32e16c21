package restauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	"sipxrest/internal/limit"

	auth "github.com/abbot/go-http-auth"
	"golang.org/x/crypto/bcrypt"
)

// PINs that are hashed as by htpasswd prove nothing by Digest, which needs the PIN
// or HA1: they are for Basic, on TLS. go-http-auth compares them. Its own
// authenticator never sees a request of a client.

const (
	// bcryptCost is that of new hashes, some 50 ms of a core; mostBcrypt the highest
	// that is taken: half a second.
	bcryptCost = 10
	mostBcrypt = 13
	// maxHashing is how many PINs are compared at once, maxHashQueue how many
	// requests wait for that.
	maxHashing   = 2
	maxHashQueue = 64
	// maxHashesOfOne is how many of these one address (IPv6: /64) may have.
	maxHashesOfOne = 8
	// rightFor is how long at least a PIN that was right is known to be, so that
	// a portal that asks each second costs no core; maxRight bounds how many are
	// remembered, twice.
	rightFor = 5 * time.Minute
	maxRight = 4096
)

// HashPIN returns a bcrypt hash for pin-bcrypt in users.yaml.
func HashPIN(pin string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(pin), bcryptCost)
	return string(hash), err
}

var shaOrMD5 = regexp.MustCompile(`^(\{SHA\}[A-Za-z0-9+/]{27}=|\$(apr1|1)\$[^$:]{1,8}\$[./0-9A-Za-z]{22})$`)

// checkCrypt says what is wrong with a hash of htpasswd, without repeating it.
func checkCrypt(hash string) error {
	switch {
	case strings.HasPrefix(hash, "$2"):
		return checkBcrypt(hash)
	case !shaOrMD5.MatchString(hash):
		return errors.New("the hash is none that is known: make it by htpasswd -B (bcrypt), -m (apr1) or -s (SHA)")
	}
	return nil
}

var bcryptHash = regexp.MustCompile(`^\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

func checkBcrypt(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case !bcryptHash.MatchString(hash) || err != nil:
		return errors.New(`want a bcrypt hash such as "$2y$10$…", as sipxrest user hash --bcrypt or htpasswd -nB prints it`)
	case cost > mostBcrypt:
		return fmt.Errorf("a bcrypt hash of cost %d takes seconds to compare: make one of %d, and %d at most", cost, bcryptCost, mostBcrypt)
	}
	return nil
}

// cryptCost orders hashes by the time that comparing one takes: bcrypt's cost is the
// logarithm of it, the others take next to none.
func cryptCost(hash string) int {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return 0
	}
	return cost
}

// sameCrypt reports whether a PIN is that of a hash that checkCrypt has taken.
func sameCrypt(hash, pin string) bool {
	const user = "agent"
	r := &http.Request{Header: http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+pin))}}}
	b := auth.BasicAuth{Secrets: func(string, string) string { return hash }}
	return pin != "" && b.CheckAuth(r) == user
}

// errHashing says that more PINs wait to be compared than may.
var errHashing = errors.New("too many PINs are being checked at once: try again in a moment")

// A crypter compares PINs with such hashes, some at once, and remembers for a while
// which were right. Its methods may be called from any goroutine.
type crypter struct {
	key            [32]byte
	running, queue chan struct{}

	mu       sync.Mutex
	waiting  map[netip.Addr]int    // PINs of one network that are in the queue; guarded by mu
	now, old map[[32]byte]struct{} // right ones by their HMAC; guarded by mu
	turned   time.Time             // when old was now; guarded by mu
}

func newCrypter() *crypter {
	c := &crypter{running: make(chan struct{}, maxHashing), queue: make(chan struct{}, maxHashing+maxHashQueue), now: map[[32]byte]struct{}{}, waiting: map[netip.Addr]int{}}
	rand.Read(c.key[:]) // never fails
	return c
}

// same reports whether a PIN that an address has sent is that of a hash. The error is
// errHashing, or ctx's. One address has few places in the queue: others are to get in.
func (c *crypter) same(ctx context.Context, from netip.Addr, hash, pin string, now time.Time) (bool, error) {
	mac := hmac.New(sha256.New, c.key[:])
	mac.Write([]byte(hash + "\x00" + pin))
	id := [32]byte(mac.Sum(nil))
	if c.known(id, now) {
		return true, nil
	}
	from = limit.Network(from)
	if !c.enter(from) {
		return false, errHashing
	}
	defer c.leave(from)
	select {
	case c.queue <- struct{}{}:
		defer func() { <-c.queue }()
	default:
		return false, errHashing
	}
	select {
	case c.running <- struct{}{}:
		defer func() { <-c.running }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	if !sameCrypt(hash, pin) {
		return false, nil
	}
	c.learn(id, now)
	return true, nil
}

func (c *crypter) enter(from netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[from] >= maxHashesOfOne {
		return false
	}
	c.waiting[from]++
	return true
}

func (c *crypter) leave(from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[from]--; c.waiting[from] == 0 {
		delete(c.waiting, from)
	}
}

func (c *crypter) known(id [32]byte, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	_, young := c.now[id]
	_, old := c.old[id]
	return young || old
}

func (c *crypter) learn(id [32]byte, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	c.now[id] = struct{}{}
}

// turn drops what is old. c.mu is held.
func (c *crypter) turn(now time.Time) {
	switch age := now.Sub(c.turned); {
	case age >= 2*rightFor || age < 0:
		c.old = nil
	case age >= rightFor || len(c.now) >= maxRight:
		c.old = c.now
	default:
		return
	}
	c.now, c.turned = map[[32]byte]struct{}{}, now
}
