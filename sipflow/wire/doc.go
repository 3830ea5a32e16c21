// Package wire reads and writes SIP messages (RFC 3261 §7, §25) as the bytes
// they are: a Message is its datagram and an index of where its header fields
// stand.
//
// It stands beside the message types of emiago/sipgo, which sipflow's phones
// in tests use, for three reasons. A relay must hand on what it does not
// understand, and sipgo drops parameters of Refer-To and Record-Route, tags
// after a blank, and the bodies of short datagrams. A service that must respond
// 400 needs the pieces of a message that cannot be parsed as a whole. And
// reading a 200 costs two allocations here against 49 there, and a third of the
// time: BenchmarkParse measures both. A fuzz test holds the two parsers against
// each other.
package wire
