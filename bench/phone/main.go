// Command phone makes calls over WebSocket through a running sipxrest and
// measures what it takes: each call is two users who send each other 50 messages
// of 20 ms of audio per second. It makes the users in the service's database,
// logs them in, and prints one line for each number of calls.
//
//	phone -url http://127.0.0.1:8080 -database data/phone.db -pid 4711 100 250 500
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/phone"
)

var (
	base     = flag.String("url", "http://127.0.0.1:8080", "where the service is")
	database = flag.String("database", "data/phone.db", "its database")
	pid      = flag.Int("pid", 0, "its process, to measure its CPU time")
	span     = flag.Duration("time", 20*time.Second, "how long to measure each number of calls")
	warm     = flag.Duration("warm", 3*time.Second, "how long to wait before that")
)

const (
	samples   = 320 // 20 ms
	frameTime = 20 * time.Millisecond
	password  = "a password of the bench"
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	most := 0
	var steps []int
	for _, arg := range flag.Args() {
		n, err := strconv.Atoi(arg)
		if err != nil {
			log.Fatalf("%q is no number of calls", arg)
		}
		steps, most = append(steps, n), max(most, n)
	}
	users, err := makeUsers(2 * most)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("calls  frames/s  service-CPU%  CPU-us/frame  lost%  delay-p50  p99  p99.9  max")
	for _, n := range steps {
		if err := measure(users, n); err != nil {
			log.Fatal(err)
		}
	}
}

type user struct{ id, token string }

// makeUsers makes n users, each the favourite of the next, and logs them in.
func makeUsers(n int) ([]user, error) {
	store, err := phone.Open(*database)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	ctx := context.Background()
	ids := make([]phone.ID, n)
	users := make([]user, n)
	var all sync.WaitGroup
	errs := make(chan error, 2)
	var next atomic.Int64
	for range 2 {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				name := "bench" + strconv.Itoa(i)
				u, err := store.Find(ctx, name)
				if errors.Is(err, phone.ErrNoUser) {
					u, err = store.Add(ctx, phone.User{Username: name}, password)
				}
				if err == nil {
					ids[i] = u.ID
					users[i], err = logIn(name)
				}
				if err != nil {
					errs <- fmt.Errorf("%s: %w", name, err)
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
	}
	for i := 0; i < n; i += 2 {
		if err := store.Relate(ctx, phone.Favorite, ids[i+1], ids[i]); err != nil {
			return nil, err
		}
	}
	return users, nil
}

var insecure = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}} // it is our own

func logIn(name string) (user, error) {
	r, err := http.NewRequest("POST", *base+"/api/v3/auth/login", nil)
	if err != nil {
		return user{}, err
	}
	r.SetBasicAuth(name, password)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: insecure, DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		return user{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return user{}, errors.New(res.Status)
	}
	var a struct{ UserID, Token string }
	err = json.NewDecoder(res.Body).Decode(&a)
	return user{a.UserID, a.Token}, err
}

// open opens a WebSocket as bytes: the bench must cost less than what it measures.
func open(token, path string) (net.Conn, *bufio.Reader, error) {
	u, err := url.Parse(*base)
	if err != nil {
		return nil, nil, err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, nil, err
	}
	if u.Scheme == "https" {
		conn = tls.Client(conn, insecure)
	}
	key := base64.StdEncoding.EncodeToString(make([]byte, 16))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, u.Host, token, key)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(res.Body)
		return nil, nil, fmt.Errorf("%s: %s %s", path, res.Status, text)
	}
	return conn, r, nil
}

// measure runs n calls and prints what they took.
func measure(users []user, n int) error {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
		time.Sleep(time.Second) // the service forgets them
	}()
	var counting atomic.Bool
	var received atomic.Int64
	delays := make([][]int64, 2*n)
	var phones []net.Conn
	var readers sync.WaitGroup
	for i := range n {
		from, to := users[2*i], users[2*i+1]
		call := phone.NewID().String()
		for k, step := range []struct{ token, path string }{
			{to.token, "/api/v3/notification/socket"},
			{from.token, "/api/v3/phone/socket/initiate/" + call + "/to/" + to.id},
			{to.token, "/api/v3/phone/socket/answer/" + call},
		} {
			conn, r, err := open(step.token, step.path)
			if err != nil {
				return err
			}
			conns = append(conns, conn)
			if k == 0 {
				go func() { _, _ = io.Copy(io.Discard, r) }()
				continue
			}
			phones = append(phones, conn)
			mine := &delays[2*i+k-1]
			readers.Go(func() { listen(r, &counting, &received, mine) })
		}
	}
	stop := make(chan struct{})
	var senders sync.WaitGroup
	const groups = 20 // of phones that speak at the same time
	for g := range groups {
		senders.Go(func() { speak(phones, g, groups, stop) })
	}
	time.Sleep(*warm)
	began, cpu := time.Now(), cpuTime()
	counting.Store(true)
	time.Sleep(*span)
	counting.Store(false)
	took, used := time.Since(began), cpuTime()-cpu
	close(stop)
	senders.Wait()
	for _, c := range conns {
		c.Close()
	}
	readers.Wait()
	var all []int64
	for _, d := range delays {
		all = append(all, d...)
	}
	if len(all) == 0 {
		return errors.New("nothing was heard")
	}
	slices.Sort(all)
	at := func(q float64) time.Duration {
		return time.Duration(all[min(len(all)-1, int(q*float64(len(all))))]).Round(10 * time.Microsecond)
	}
	got := float64(received.Load())
	want := float64(2*n) * took.Seconds() / frameTime.Seconds()
	fmt.Printf("%5d  %8.0f  %12.1f  %12.2f  %5.2f  %9v  %v  %v  %v\n", n, got/took.Seconds(), 100*used.Seconds()/took.Seconds(),
		used.Seconds()*1e6/got, 100*max(0, 1-got/want), at(0.5), at(0.99), at(0.999), time.Duration(all[len(all)-1]).Round(10*time.Microsecond))
	return nil
}

// speak sends for the phones of a group, every 20 ms, with the time in it.
func speak(phones []net.Conn, group, groups int, stop chan struct{}) {
	message := make([]byte, 8+4+2*samples) // the header of the frame, with a mask of zeros
	size := len(message) - 8
	copy(message, []byte{0x82, 0x80 | 126, byte(size >> 8), byte(size)})
	binary.LittleEndian.PutUint32(message[8:], samples)
	next := time.Now().Add(frameTime * time.Duration(group) / time.Duration(groups))
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Until(next)):
		}
		for i := group; i < len(phones); i += groups {
			binary.LittleEndian.PutUint64(message[12:], uint64(time.Now().UnixNano()))
			if _, err := phones[i].Write(message); err != nil {
				return
			}
		}
		next = next.Add(frameTime)
	}
}

// listen notes how long each message took.
func listen(r *bufio.Reader, counting *atomic.Bool, received *atomic.Int64, delays *[]int64) {
	body := make([]byte, 1<<16)
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:2]); err != nil {
			return
		}
		size := int(head[1])
		if size == 126 {
			if _, err := io.ReadFull(r, head[2:]); err != nil {
				return
			}
			size = int(binary.BigEndian.Uint16(head[2:]))
		}
		if _, err := io.ReadFull(r, body[:size]); err != nil {
			return
		}
		if size == 4+2*samples && counting.Load() {
			received.Add(1)
			*delays = append(*delays, time.Now().UnixNano()-int64(binary.LittleEndian.Uint64(body[4:])))
		}
	}
}

// cpuTime is the user and system time of the service, as Linux counts it.
func cpuTime() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", *pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}
