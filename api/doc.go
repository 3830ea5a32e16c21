// Package api is version 1 of the JSON interface: one resource "call" over all
// flows, and one stream of what happens to calls.
//
// Where to look:
//
//	api.go        what there is to set; who answers what
//	route.go      from the request to its handler: what each resource declares
//	problem.go    every error there is, with its status and its sentence
//	principal.go  who asks, what he may do, and which calls he sees
//	key.go        API keys; keyfile.go is the file that the command line writes
//	body.go       JSON of requests, with a pointer for each member that is wrong
//	query.go      parameters, pages; prefer.go: Prefer, ETag and what belongs to them
//	me.go         who the request is; user.go: the users
//	stream.go     events as pages, by SSE (sse.go) and over WebSocket (ws.go)
//	ticket.go     tickets that open a stream in a browser
//
// A resource has a file of its own with a method that names its routes; a
// handler returns why it refuses, and has responded when it returns nil.
package api
