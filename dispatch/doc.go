// Package dispatch decides what becomes of calls that come in: it finds a rule
// for each, asks its webhook, and carries out the response. The caller is
// connected to a room or to somebody else, or refused.
//
// Where to look:
//
//	rule.go, check.go    a rule as it is written, what is wrong with it
//	read.go, field.go    rules as YAML, in files and in the configuration
//	number.go, match.go  numbers normalised, the rule that a call has
//	files.go             the folder of rules, watched
//	decision.go, json.go what a webhook returns, or a static rule says
//	target.go, status.go URIs to call, codes to refuse with
//	request.go, sign.go  what a webhook is told, and how it knows that we say so
//	client.go, guard.go  its connections: where they may lead
//	event.go             what is told about calls later on, and sent until it arrives
//	dispatcher.go        all of it put together
//
// A webhook can do no more than its rule and the dial policy let it: its
// response is bounded, checked, and refused as a whole if any of it is wrong.
package dispatch
