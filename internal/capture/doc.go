// Package capture keeps the SIP messages of calls for whoever looks into one: a bounded
// store in memory, with secrets cut out, and the forms in which it is shown.
//
//	ring.go    what is kept, by call
//	cut.go     what is cut out of a message
//	text.go    a call's messages as text
//	pcap.go    and as a capture file that Wireshark and sngrep read
package capture
