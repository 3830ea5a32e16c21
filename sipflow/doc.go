// Package sipflow places SIP calls between two phones and stays in control of
// them: the Switchboard, its Calls, their Legs and the flows that read like
// the message ladders they produce.
package sipflow
