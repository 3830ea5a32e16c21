// Package fakeengine is a store in memory for tests, with faults: lost answers, elections, partitions, slowness and lost data.
//
// It is made for testing/synctest: it waits by timers and channels only. Each node has an Engine of its own, whose messages go to the
// store one after the other. What is on its way arrives later, or is lost, as over a network.
package fakeengine
