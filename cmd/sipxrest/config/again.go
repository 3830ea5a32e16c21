package config

import (
	"reflect"
	"slices"
)

// With returns c with those keys as read has them that a service takes while it
// runs, see TakenAtOnce.
func (c *Config) With(read *Config) *Config {
	next := *c
	next.origin = read.origin
	from := read.rows()
	for i, r := range next.rows() {
		if r.AtOnce {
			reflect.ValueOf(r.Set.At).Elem().Set(reflect.ValueOf(from[i].Set.At).Elem())
		}
	}
	return &next
}

// TakenAtOnce reports whether a running service takes a change of the key when it
// reads its files again. All others wait for a restart.
func TakenAtOnce(key string) bool {
	return slices.ContainsFunc(new(Config).rows(), func(r row) bool { return r.Name == key && r.AtOnce })
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
