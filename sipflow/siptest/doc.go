// Package siptest is the other side of sipflow's tests, and of the demo: a
// network in memory, phones that follow a script, and a proxy and registrar
// that challenges. It takes messages from sipgo's sip package but has its own
// transactions, so that it does not share sipflow's mistakes.
//
// A flow is tested inside a testing/synctest bubble, where time costs nothing:
//
//	synctest.Test(t, func(t *testing.T) {
//		n := siptest.NewNetwork()
//		n.Name("10.0.0.1:5060", "sipxrest")
//		a := n.Phone("201", "10.0.0.2:5060", siptest.Script{Ring: 3 * time.Second})
//		defer a.Close()
//		board := start(t, n.Listen("10.0.0.1:5060")) // what is tested
//
//		board.call("sip:201@10.0.0.2:5060")
//		time.Sleep(time.Minute) // fake: returns when all that happens in it has happened
//		synctest.Wait()
//
//		if !a.OnHook() || !a.Acked() {
//			t.Errorf("201 saw %v", a.Log())
//		}
//		flowtest.Golden(t, "refer", n.Ladder()) // testdata/flows/refer.golden
//	})
//
// The zero [Script] is a good phone; its fields make it late, busy, forgetful,
// suspicious or wrong. [Phone.Call], [Phone.Do] and [Phone.HangUp] let the test
// play the person at the phone. [Network.Drop], Duplicate and Late make the
// network bad, and flowtest.LoseEach repeats a scenario with each message lost
// once. Close every phone and proxy before the bubble ends; the network itself
// needs no closing.
//
// Over real sockets the same phones work with [NewPhone] and a *net.UDPConn. A
// phone remembers all that it saw: it is for tests and demonstrations, not for
// weeks. They speak UDP, or TLS and WebSocket by a [StreamConn]; plain TCP of
// the [Network] is for others.
package siptest
