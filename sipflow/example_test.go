package sipflow_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
)

// inMemory is a configuration on a network of siptest, in place of the machine's.
func inMemory(n *siptest.Network) sipflow.Config {
	return sipflow.Config{
		Listen:          []string{"udp:10.0.0.1:5060"},
		OutboundProxies: []string{"sip:10.0.0.9"},
		Network: transport.Network{
			ListenUDP: func(addr string) (transport.PacketConn, error) { return n.Listen(addr), nil },
			ListenTCP: func(addr string) (net.Listener, error) { return n.ListenTCP(addr), nil },
			DialTCP: func(ctx context.Context, addr string) (net.Conn, error) {
				return n.DialContext(ctx, "tcp", addr)
			},
		},
	}
}

// serve runs a switchboard until stop is called, which hangs up all calls.
func serve(cfg sipflow.Config) (board *sipflow.Switchboard, stop func()) {
	res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}}) // never asked here
	if err != nil {
		panic(err)
	}
	cfg.Resolver = res
	board, err = sipflow.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- board.Serve(ctx) }()
	return board, func() {
		defer res.Close()
		cancel()
		if err := <-served; err != nil {
			fmt.Println("serve:", err)
		}
	}
}

// office starts two phones and the proxy that they are registered at.
func office(n *siptest.Network, script201, script202 siptest.Script) (stop func()) {
	proxy := n.Proxy("10.0.0.9:5060", siptest.ProxyConfig{
		Domain: "example.com",
		Users:  map[string]string{"201": "", "202": ""},
		Locations: map[string]string{
			"201": "sip:201@10.0.0.2:5060", "202": "sip:202@10.0.0.3:5060",
		},
		Open: true,
	})
	calling := n.Phone("201", "10.0.0.2:5060", script201)
	called := n.Phone("202", "10.0.0.3:5060", script202)
	return func() { calling.Close(); called.Close(); proxy.Close() }
}

// progress prints the status lines of a call.
func progress(e *sipflow.Event) {
	if e.Kind == sipflow.Progress {
		fmt.Println(e.Method, e.Text)
	}
}

// The agent 200 has the phone 201 ring, which is then asked to call 202 itself.
func ExampleRefer() {
	n := siptest.NewNetwork()
	defer office(n, siptest.Script{}, siptest.Script{})()
	board, stop := serve(inMemory(n))
	defer stop()

	call, err := board.Place(context.Background(), sipflow.Spec{
		Key: sipflow.Key{
			Agent: "200@example.com", Calling: "201@example.com", Called: "202@example.com",
		},
		Method:      sipflow.MethodRefer,
		CallingUser: "201@example.com",
		CalledUser:  "202@example.com",
		Timeout:     30 * time.Second,
		Observe:     progress,
	}, sipflow.Refer)
	if err != nil {
		fmt.Println(err) // nothing was sent
		return
	}
	<-call.Done()
	fmt.Println("ended:", call.Err())
	// Output:
	// INVITE SIP/2.0 180 Ringing
	// INVITE SIP/2.0 200 OK
	// NOTIFY SIP/2.0 100 Trying
	// NOTIFY SIP/2.0 180 Ringing
	// ended: <nil>
}

// The gateway 10.0.0.2 calls a telephone, which is joined with 202 when it has answered.
func ExampleDial() {
	n := siptest.NewNetwork()
	defer office(n, siptest.Script{}, siptest.Script{Ringing: -1})()
	board, stop := serve(inMemory(n))
	defer stop()

	joined := make(chan struct{})
	call, err := board.Place(context.Background(), sipflow.Spec{
		Key: sipflow.Key{
			Agent: "200@example.com", Calling: "201@example.com", Called: "call-1",
		},
		Method:      sipflow.MethodInvite,
		CallingUser: "201@example.com", // both for the log
		CalledUser:  "202@example.com",
		Timeout:     30 * time.Second,
		Dial: &sipflow.Dialling{
			Gateway: "sip:10.0.0.2",
			Number:  "201",
			Caller:  "+493012345",
			Target:  "sip:202@example.com",
		},
		Observe: func(e *sipflow.Event) {
			switch e.Kind {
			case sipflow.Alerted:
				fmt.Println("it rings")
			case sipflow.Answered:
				fmt.Println("it has answered")
			case sipflow.Joined:
				close(joined)
			}
		},
	}, sipflow.Dial)
	if err != nil {
		fmt.Println(err)
		return
	}
	select {
	case <-joined:
	case <-call.Done():
	}
	call.HangUp(sipflow.ErrHungUpByUser)
	<-call.Done()
	fmt.Println("ended:", call.Err())
	// Output:
	// it rings
	// it has answered
	// ended: hung up by its client
}

// Media end in this program: package media makes the descriptions of real ones.
func ExampleConverse() {
	n := siptest.NewNetwork()
	defer office(n, siptest.Script{HangUpAfter: 20 * time.Millisecond}, siptest.Script{})()
	board, stop := serve(inMemory(n))
	defer stop()

	const ours = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n" +
		"m=audio 20000 RTP/AVP 0\r\n"
	call, err := board.Place(context.Background(), sipflow.Spec{
		Key: sipflow.Key{
			Agent: "200@example.com", Calling: "call-1", Called: "201@example.com",
		},
		Method:     sipflow.MethodInvite,
		CalledUser: "201@example.com",
		Timeout:    30 * time.Second,
		Converse: &sipflow.Conversation{
			Offer: func() []byte { return []byte(ours) },
			Answered: func(_ []byte, early bool) error {
				fmt.Println("answered, early:", early)
				return nil
			},
			Reoffer: func([]byte) ([]byte, error) { return []byte(ours), nil },
		},
	}, sipflow.Converse)
	if err != nil {
		fmt.Println(err)
		return
	}
	<-call.Done()
	fmt.Println("ended:", call.Err())
	// Output:
	// answered, early: false
	// ended: <nil>
}

// 201 calls us and is connected to 202.
func ExampleIncoming_Connect() {
	n := siptest.NewNetwork()
	target := n.Phone("202", "10.0.0.3:5060", siptest.Script{HangUpAfter: 20 * time.Millisecond})
	defer target.Close()
	caller := n.Phone("201", "10.0.0.2:5060", siptest.Script{})
	defer caller.Close()

	over := make(chan error, 1)
	cfg := inMemory(n)
	cfg.OutboundProxies = nil
	cfg.Inbound = &sipflow.Inbound{
		Admit: func(*sipflow.Incoming) sipflow.Admission { return sipflow.Trusted },
		Take: func(ctx context.Context, in *sipflow.Incoming) error {
			fmt.Println("from", in.From.User)
			err := in.Connect(ctx, sipflow.Destination{URI: "sip:202@10.0.0.3:5060"})
			over <- err
			return err
		},
	}
	_, stop := serve(cfg)
	defer stop()

	if err := caller.Call(context.Background(), "sip:help@10.0.0.1:5060"); err != nil {
		fmt.Println("refused:", err)
		return
	}
	fmt.Println("ended:", <-over)
	// Output:
	// from 201
	// ended: <nil>
}
