// Package policy says who may be dialled. It reads a target of a client or a
// phone, in whatever spelling, as the numbers that it may mean. It tells the
// class of each (premium, international, internal…), and looks them up in an
// ordered list of rules.
//
// A text may mean more than one number: "0049…" is a number abroad to one
// dialling plan and a local one to another. Each meaning is a Reading, and all
// of them must be allowed.
//
// Where to look:
//
//	target.go    a URI or user@host taken apart
//	fold.go      escapes, digits of other scripts, separators, pauses
//	plan.go      the dialling plan: what numbers the digits may be
//	class.go     what class a number is
//	rule.go      rules, and what they match
//	book.go      all policies, who has which, the verdict
package policy
