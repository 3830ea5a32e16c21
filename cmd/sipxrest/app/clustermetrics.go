package app

import (
	"maps"
	"slices"
	"time"

	"sipxrest/cluster"
	"sipxrest/internal/metrics"
	"sipxrest/sipflow"
)

// addClusterMetrics shows what a node knows of itself and the others.
func (a *App) addClusterMetrics(r *metrics.Registry) {
	show(r, a.cluster.Stats, []family[cluster.Stats]{
		{metrics.Gauge("sipxrest_cluster_holds", "1 while this node is surely the owner of its calls, else 0: it takes no new ones."),
			func(s cluster.Stats, to values) { to.set(oneIf(s.Holds)) }},
		{metrics.Gauge("sipxrest_cluster_nodes", "Nodes that this one knows, by state (live, draining, silent, fenced).", "state"),
			func(s cluster.Stats, to values) {
				for _, state := range []string{"live", "draining", "silent", "fenced"} {
					to.gauge(s.Nodes[state], state)
				}
			}},
		{metrics.Gauge("sipxrest_cluster_lease_seconds", "What is left of this node's lease."),
			func(s cluster.Stats, to values) { to.set(s.Lease.Seconds()) }},
		{metrics.Gauge("sipxrest_cluster_calls", "Calls whose states this node keeps in the store."),
			func(s cluster.Stats, to values) { to.gauge(s.Calls) }},
		{metrics.Gauge("sipxrest_cluster_dirty", "Calls whose newest state is not in the store yet."),
			func(s cluster.Stats, to values) { to.gauge(s.Dirty) }},
		{metrics.Seconds("sipxrest_cluster_tick_seconds", "How long states took from being written to being committed."),
			func(s cluster.Stats, to values) { to.times(histogramOf(s.Ticks)) }},
		{metrics.Counter("sipxrest_cluster_writes_total", "States of calls that were written."),
			func(s cluster.Stats, to values) { to.count(s.Writes) }},
		{metrics.Counter("sipxrest_cluster_write_bytes_total", "Their bytes."),
			func(s cluster.Stats, to values) { to.count(s.WriteBytes) }},
		{metrics.Counter("sipxrest_cluster_tick_failures_total", "States that had to be written again, by why: gap (some got lost), error (no answer), fence (others have the calls), lost (the store has lost data).", "why"),
			func(s cluster.Stats, to values) { counts(to, s.TickFailures, "gap", "error", "fence", "lost") }},
		{metrics.Counter("sipxrest_cluster_too_large_total", "States that were not kept, for they are too large: these calls are not taken over as they are."),
			func(s cluster.Stats, to values) { to.count(s.TooLarge) }},
		{metrics.Counter("sipxrest_cluster_claims_total", "Calls that this node wanted to begin, by result: ok, held (another node has such a call), refused (it takes none), error.", "result"),
			func(s cluster.Stats, to values) { counts(to, s.Claims, "ok", "held", "refused", "error") }},
		{metrics.Counter("sipxrest_cluster_fences_total", "Nodes that this one has seen fenced, by whom: watcher, start (a namesake that begins), operator, other.", "by"),
			func(s cluster.Stats, to values) {
				counts(to, s.Fences, "watcher", "start", "operator", "other")
			}},
		{metrics.Counter("sipxrest_cluster_zombie_total", "How often this node has found that others have its calls, and has forgotten them."),
			func(s cluster.Stats, to values) { to.count(s.Forgotten) }},
		{metrics.Counter("sipxrest_cluster_takeovers_total", "Calls of other nodes that this one has taken over, by flow, by how far they were (state), and by result: kept, hung_up, lost.", "flow", "state", "result"),
			takeovers},
		{metrics.Seconds("sipxrest_cluster_takeover_seconds", "How long it took from a node's fence until none of its calls was left."),
			func(s cluster.Stats, to values) { to.times(histogramOf(s.Takeover)) }},
		{metrics.Counter("sipxrest_cluster_handovers_total", "Calls that went from node to node without a fence, by result: moved, refused, unsure (of this node's), taken (of others').", "result"),
			func(s cluster.Stats, to values) { counts(to, s.Handovers, "moved", "refused", "unsure", "taken") }},
		{metrics.Counter("sipxrest_cluster_asks_total", "Questions to other nodes, by what was asked and by result: ok, nobody, busy, error.", "op", "result"),
			func(s cluster.Stats, to values) {
				for k, n := range s.Asks {
					to.count(n, k.Op, k.Result)
				}
				if first := (cluster.AskKey{Op: opStatus, Result: "ok"}); s.Asks[first] == 0 {
					to.count(0, first.Op, first.Result) // none has been asked yet
				}
			}},
		{metrics.Seconds("sipxrest_cluster_ask_seconds", "How long other nodes took to answer."),
			func(s cluster.Stats, to values) { to.times(histogramOf(s.AskTime)) }},
		{metrics.Counter("sipxrest_cluster_rewrites_total", "How often all states were written again, for the store had lost data."),
			func(s cluster.Stats, to values) { to.count(s.Again) }},
		{metrics.Gauge("sipxrest_config_differs", "Nodes whose users, policies, dispatch rules or trunks have not been those of this one for more than a minute."),
			func(s cluster.Stats, to values) { to.gauge(s.Differs) }},
	})
}

// takeovers tells what came of calls that were taken over. Whoever looks for what rises
// needs to have seen that it was 0: of lost ones each kind is there from the start.
func takeovers(s cluster.Stats, to values) {
	for _, kind := range sipflow.StateKinds() {
		k := cluster.TakeoverKey{Flow: kind[0], State: kind[1], Result: sipflow.TakenLost}
		if _, has := s.Takeovers[k]; !has {
			to.count(0, k.Flow, k.State, k.Result)
		}
	}
	for k, n := range s.Takeovers {
		to.count(n, k.Flow, k.State, k.Result)
	}
}

// counts tells counts by a label: those that have been, and those that might be.
func counts(to values, by map[string]uint64, might ...string) {
	for _, label := range might {
		if _, has := by[label]; !has {
			to.count(0, label)
		}
	}
	for _, label := range slices.Sorted(maps.Keys(by)) {
		to.count(by[label], label)
	}
}

// histogramOf is a histogram of the cluster's, as metrics take them.
func histogramOf(h cluster.Histogram) sipflow.Histogram {
	out := sipflow.Histogram{Sum: asTime(h.Sum)}
	last := uint64(0)
	for _, b := range slices.Sorted(maps.Keys(h.Buckets)) {
		out.Bounds = append(out.Bounds, asTime(b))
		out.Buckets = append(out.Buckets, h.Buckets[b]-last)
		last = h.Buckets[b]
	}
	out.Buckets = append(out.Buckets, h.Count-last)
	return out
}

func asTime(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
