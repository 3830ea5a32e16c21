// Package webhook tells other people's HTTP servers of something and reads what
// they say: a client that no name leads inside the network, signatures, and
// ordered queues of events that are tried again. It knows nothing of what it
// tells.
//
//	endpoint.go  how a server is reached, and what is wrong with that
//	secret.go    a text that no log shows
//	message.go   what is told
//	sign.go      signatures of requests
//	standard.go  signatures by Standard Webhooks
//	guard.go     which addresses a connection may be made to
//	client.go    one request and its response
//	poster.go    posts to URLs that clients choose
//	queue.go     events in their order, until they have arrived
package webhook
