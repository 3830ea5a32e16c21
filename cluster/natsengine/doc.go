// Package natsengine is the engine of a cluster over NATS JetStream, version 2.12
// or later: `sipxrest store`, or any other.
//
//	config.go   servers, credentials, certificates
//	engine.go   the connection, from its first try to Close
//	stream.go   streams: made, removed, led by a server on another machine
//	commit.go   writes: plain ones, conditional ones, atomic batches (ADR-50)
//	read.go     the last message of a subject, and sweeps
//	tell.go     questions, answers, and what is told to all
//	api.go      requests to JetStream, and its errors
//	probe.go    what `sipxrest check` asks
package natsengine
