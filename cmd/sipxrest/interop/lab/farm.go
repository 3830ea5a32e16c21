package lab

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// FarmConfig says how the phones of a farm behave.
type FarmConfig struct {
	// NoUpdate makes phones that neither allow nor take UPDATE (RFC 3311).
	NoUpdate bool
	// Ring is how long a phone rings before it answers.
	Ring time.Duration
}

// Farm is thousands of phones at one UDP socket, one for each user that is called. It
// is the outbound proxy, too, and never forwards. A phone answers and stays in the
// call until somebody hangs up. One whose user begins with "ring" is never answered.
//
// Its phones are strict where a second node could go wrong. A request whose CSeq is not
// higher gets 500 (RFC 3261 §12.2.2). A description that does not follow from the last
// one (RFC 3264 §8) is a fault, and so is a second INVITE to a phone in a call.
type Farm struct {
	// Addr is its ip:port.
	Addr string

	cfg    FarmConfig
	socket *net.UDPConn
	reader chan struct{} // closed when nobody reads any more

	mu      sync.Mutex
	closed  bool
	lines   map[string]*line // by Call-ID
	newest  map[string]*line // by user
	pending map[string]*ask  // by branch
	faults  []string
	strays  int // requests in calls that no phone knows
	work    sync.WaitGroup
}

// View is what a phone has seen of its call.
type View struct {
	User, CallID string
	// State is "ringing", "up" or "over". End says who ended it: "BYE", "CANCEL",
	// "own BYE" or "no ACK".
	State, End string
	// Contact is the ip:port of the other side's Contact, which came at Moved first.
	Contact string
	Moved   time.Time
	// Over is when the call ended.
	Over time.Time
	// Heard is the last description that came, Settled that no INVITE is under way.
	Heard   string
	Settled bool
	// Answers counts the descriptions that came.
	Answers int
	// Refused counts the requests that had a CSeq number which was too low; Invites, Updates
	// and Infos those of a method that came within the call, without them.
	Refused, Invites, Updates, Infos int
}

// String is what tests tell of a phone.
func (v View) String() string {
	if v.State == "" {
		return v.User + " was not called"
	}
	text := v.User + " is " + v.State
	if v.End != "" {
		text += ", by " + v.End
	}
	return fmt.Sprintf("%s, with %s since %s, settled %t, %d descriptions, %d requests refused", text, v.Contact, v.Moved.Format("05.000"),
		v.Settled, v.Answers, v.Refused)
}

// farmParser leaves the header fields whose parameters sipgo drops as they came.
var farmParser = sip.NewParser(sip.WithHeadersParsers(func() map[string]sip.HeaderParser {
	all := maps.Clone(sip.DefaultHeadersParser())
	delete(all, "record-route")
	delete(all, "route")
	return all
}()))

// Farm starts phones at a free port. They end with the test, which fails by the faults
// that they have seen.
func (l *Lab) Farm(c FarmConfig) *Farm {
	l.tb.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: Ports(l.tb, 1)})
	if err != nil {
		l.tb.Fatal(err)
	}
	_ = socket.SetReadBuffer(4 << 20) // what does not fit is loss that nobody asked for
	f := &Farm{Addr: socket.LocalAddr().String(), cfg: c, socket: socket, reader: make(chan struct{}),
		lines: map[string]*line{}, newest: map[string]*line{}, pending: map[string]*ask{}}
	go f.read()
	tb := l.tb
	tb.Cleanup(func() { f.close(tb) })
	return f
}

func (f *Farm) close(tb testing.TB) {
	f.mu.Lock()
	f.closed = true
	for _, x := range f.lines {
		x.again.Stop()
	}
	for _, a := range f.pending {
		a.fail()
	}
	faults := f.faults
	f.mu.Unlock()
	f.socket.Close()
	<-f.reader
	f.work.Wait()
	for i, fault := range faults {
		if i == 10 {
			tb.Errorf("phones: %d faults more", len(faults)-i)
			break
		}
		tb.Errorf("phones: %s", fault)
	}
}

func (f *Farm) read() {
	defer close(f.reader)
	buf := make([]byte, 65536)
	for {
		n, from, err := f.socket.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		m, err := farmParser.ParseSIP(slices.Clone(buf[:n]))
		if err != nil || m.Via() == nil || m.From() == nil || m.To() == nil || m.CallID() == nil || m.CSeq() == nil {
			f.fault("from %s: no SIP message: %q", from, buf[:n])
			continue
		}
		f.mu.Lock()
		if !f.closed {
			switch m := m.(type) {
			case *sip.Request:
				f.request(m, from)
			case *sip.Response:
				f.response(m)
			}
		}
		f.mu.Unlock()
	}
}

func (f *Farm) fault(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faultf(format, args...)
}

// faultf is fault for those who hold the lock.
func (f *Farm) faultf(format string, args ...any) {
	if len(f.faults) < 1000 {
		f.faults = append(f.faults, fmt.Sprintf(format, args...))
	}
}

// Faults returns what the phones saw that must not be, and forgets it.
func (f *Farm) Faults() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.faults
	f.faults = nil
	return all
}

// Strays counts the requests within calls that no phone knows.
func (f *Farm) Strays() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.strays
}

// Views returns the calls of the users that fit, the oldest first.
func (f *Farm) Views(fits func(View) bool) (all []View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.lines {
		if v := x.view(); fits == nil || fits(v) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b View) int {
		return cmp.Or(strings.Compare(a.User, b.User), strings.Compare(a.CallID, b.CallID))
	})
	return all
}

// Count counts the calls that fit.
func (f *Farm) Count(fits func(View) bool) int { return len(f.Views(fits)) }

// View returns the newest call of a user.
func (f *Farm) View(user string) View {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.newest[user]; x != nil {
		return x.view()
	}
	return View{User: user}
}

// write sends a message; a socket that is closed takes none.
func (f *Farm) write(text string, to netip.AddrPort) {
	_, _ = f.socket.WriteToUDPAddrPort([]byte(text), to)
}
