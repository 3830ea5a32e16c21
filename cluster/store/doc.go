// Package store runs the store of a cluster: a NATS server with JetStream, as a
// process of its own. Three of them, on three machines, keep what nodes write.
//
//	config.go    what it listens on, who the others are, where its files are
//	store.go     the server from its start to its end
//	log.go       what the server says, by slog
//	health.go    whether its streams are current, over HTTP
//	tls.go       certificates, read anew for each connection
//	none.go      with the build tag nostore, in place of all of these
package store
