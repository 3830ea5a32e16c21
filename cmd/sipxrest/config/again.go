package config

import (
	"reflect"
	"strings"
)

// With returns c with those keys as read has them that a service takes while it
// runs, see TakenAtOnce.
func (c *Config) With(read *Config) *Config {
	next := *c
	next.origin = read.origin
	next.Policy, next.Policies, next.PolicyUsers, next.Dial = read.Policy, read.Policies, read.PolicyUsers, read.Dial
	next.Dispatch, next.Phone.Calls = read.Dispatch, read.Phone.Calls
	return &next
}

// TakenAtOnce reports whether a running service takes a change of the key when it
// reads its files again. All others wait for a restart.
func TakenAtOnce(key string) bool {
	switch section, _, _ := strings.Cut(key, "."); section {
	case "policy", "policies", "policy-users", "dial", "dispatch":
		return true
	}
	return key == "phone.calls"
}

// Differences names the keys whose values are others in read, in the order of the
// table.
func (c *Config) Differences(read *Config) (names []string) {
	was := c.keys()
	for i, k := range read.keys() {
		if !reflect.DeepEqual(was[i].At, k.At) {
			names = append(names, k.Name)
		}
	}
	return names
}
