// Package fakeengine is a store in memory for tests, with faults: lost answers, elections, partitions, slowness and lost data.
package fakeengine
