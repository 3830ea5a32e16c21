// Package phone is calls over WebSocket: users log in, keep a notification
// socket open on each device, and call each other. They speak through two
// sockets whose audio is passed on here, or on a path of their own.
//
// Where to look:
//
//	routes.go, answer.go        which path is what, who is let in, what errors look like
//	calling.go, account.go      the requests about calls; those about oneself
//	call.go, device.go          the state of calls, and the devices that are told
//	leg.go, frame.go            what waits to be sent to somebody; audio
//	socket.go                   a WebSocket that serves a leg
//	store.go, user.go, relation.go, password.go, token.go   the database
//
// Locks: Service.mu, then a leg's. Under both nothing waits.
package phone
