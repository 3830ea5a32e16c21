package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// Janus is Debian's Janus, the media server behind Talk's signaling server. It
// leaves loopback addresses out whatever it is told, so it has a network
// namespace of its own: a cable of two ends (veth) leads there.
type Janus struct {
	// Here is the address of our end of the cable: what talks to Janus has its
	// media there.
	Here netip.Addr
	// URL is the address of its WebSocket interface.
	URL string

	*Process
	lab       *Lab
	namespace string
	there     netip.Addr
	config    string // the folder of its configuration
	starts    int
}

// NeedNamespaces skips the test where Janus cannot have a network of its own.
// Everything else that is missing fails the test, see Need.
func NeedNamespaces(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("SKIPPED, Talk's audio is not tested with Janus: only root may make a network namespace")
	}
	for _, program := range []string{"ip", "janus"} {
		if _, err := exec.LookPath(program); err != nil {
			tb.Skipf("SKIPPED, Talk's audio is not tested with Janus: %s is not installed: run `make setup`", program)
		}
	}
}

const (
	janusConfig = `general: {
	configs_folder = "%[1]s"
	plugins_folder = "%[1]s/plugins"
	transports_folder = "%[1]s/transports"
	events_folder = "%[1]s/none"
	loggers_folder = "%[1]s/none"
	debug_level = 4
	debug_colors = false
}
media: {
	rtp_port_range = "20000-29999"
	slowlink_threshold = 0
}
nat: {
	full_trickle = true
}
`
	janusSocket = `general: {
	json = "compact"
	ws = true
	ws_port = 8188
	ws_ip = "%s"
	wss = false
}
`
)

// namespaces counts those that this process has made.
var namespaces atomic.Int32

// Janus starts a Janus that ends with the test, as does its namespace.
func (l *Lab) Janus() *Janus {
	l.tb.Helper()
	NeedNamespaces(l.tb)
	removeStale()
	j := &Janus{lab: l, config: filepath.Join(l.Dir, "janus"), namespace: fmt.Sprintf("%s%d-%d", namespacePrefix, os.Getpid(), namespaces.Add(1))}
	j.Here, j.there = l.freeNetwork()
	// A name of an interface has at most 15 characters.
	cable := fmt.Sprintf("jn%x-%x", os.Getpid(), namespaces.Load())
	l.tb.Cleanup(func() {
		// The cable goes with the namespace, but some time later.
		l.ip("link", "delete", cable)
		l.ip("netns", "delete", j.namespace)
	})
	l.ip("netns", "add", j.namespace)
	l.ip("link", "add", cable, "type", "veth", "peer", "name", "cable", "netns", j.namespace)
	l.ip("address", "add", j.Here.String()+"/30", "dev", cable)
	l.ip("link", "set", cable, "up")
	l.ip("-n", j.namespace, "address", "add", j.there.String()+"/30", "dev", "cable")
	l.ip("-n", j.namespace, "link", "set", "cable", "up")
	l.ip("-n", j.namespace, "link", "set", "lo", "up")

	// Of its plugins and transports it has those that Talk uses.
	l.write("janus/janus.jcfg", fmt.Sprintf(janusConfig, j.config))
	l.write("janus/janus.transport.websockets.jcfg", fmt.Sprintf(janusSocket, j.there))
	l.write("janus/janus.plugin.videoroom.jcfg", "general: {}\n")
	for _, part := range []string{"plugins/libjanus_videoroom.so", "transports/libjanus_websockets.so"} {
		installed, _ := filepath.Glob("/usr/lib/*/janus/" + part)
		if len(installed) == 0 {
			l.tb.Fatalf("janus has no %s below /usr/lib", part)
		}
		link := filepath.Join(j.config, part)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			l.tb.Fatal(err)
		}
		if err := os.Symlink(installed[0], link); err != nil {
			l.tb.Fatal(err)
		}
	}
	j.URL = "ws://" + net.JoinHostPort(j.there.String(), "8188")
	j.Start()
	return j
}

// Start starts it, again once it has ended, and waits until it serves.
func (j *Janus) Start() {
	j.lab.tb.Helper()
	j.starts++
	j.Process = start(j.lab.tb, "janus"+strconv.Itoa(j.starts), j.lab.Dir,
		"ip", "netns", "exec", j.namespace, "janus", "--configs-folder", j.config, "--disable-colors")
	if _, err := j.AwaitLine(0, regexp.MustCompile(`WebSockets thread started`), Patience); err != nil {
		j.lab.tb.Fatalf("%v\n%s", err, strings.Join(j.Lines(), "\n"))
	}
	j.lab.Until("janus takes connections", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(j.URL, "ws://"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// Kill ends it without a word to anybody; Stop lets it say goodbye.
func (j *Janus) Kill() {
	j.lab.tb.Helper()
	if err := j.Signal(syscall.SIGKILL); err != nil {
		j.lab.tb.Fatal(err)
	}
	<-j.Done()
}

// ip runs the program of that name. What it refuses fails the test.
func (l *Lab) ip(args ...string) {
	l.tb.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		l.tb.Errorf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// freeNetwork is the two addresses of a network that no interface is in. They
// are of those for tests between networks (RFC 2544): no computer is reached by
// them.
func (l *Lab) freeNetwork() (here, there netip.Addr) {
	l.tb.Helper()
	used, err := net.InterfaceAddrs()
	if err != nil {
		l.tb.Fatal(err)
	}
	for range 100 {
		n := rand.IntN(1 << 13)
		here = netip.AddrFrom4([4]byte{198, 18, byte(n >> 6), byte(n<<2) + 1})
		if !strings.Contains(fmt.Sprint(used), here.String()+"/") {
			return here, here.Next()
		}
	}
	l.tb.Fatal("no free network for janus")
	return
}

// namespacePrefix begins the names of namespaces; the process id follows.
const namespacePrefix = "sipxrest-janus-"

// removeStale removes the namespaces of test binaries that were killed.
func removeStale() {
	names, _ := filepath.Glob("/run/netns/" + namespacePrefix + "*")
	for _, name := range names {
		name = filepath.Base(name)
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, namespacePrefix), "-")
		if _, err := os.Stat("/proc/" + pid); os.IsNotExist(err) {
			_ = exec.Command("ip", "netns", "delete", name).Run()
		}
	}
}
