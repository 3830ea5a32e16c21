package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Family is one metric with all values of its labels.
type Family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// Counter describes a number that only grows; its name ends in _total.
func Counter(name, help string, labels ...string) *Family {
	return &Family{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

// Gauge describes a number that goes up and down.
func Gauge(name, help string, labels ...string) *Family {
	return &Family{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

// Seconds describes a histogram of times; its name ends in _seconds.
func Seconds(name, help string, labels ...string) *Family {
	return &Family{prometheus.NewDesc(name, help, labels, nil), prometheus.UntypedValue}
}

// Values takes the values of one scrape.
type Values struct{ to chan<- prometheus.Metric }

// Set tells a value. The labels are those of the family in their order.
func (v Values) Set(f *Family, value float64, labels ...string) {
	v.to <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
}

// Count is Set for whole numbers.
func (v Values) Count(f *Family, n uint64, labels ...string) { v.Set(f, float64(n), labels...) }

// Times tells a histogram: for each bound, in ascending order, the number of
// times that are not beyond it but beyond the bound before; then the number of
// those beyond all bounds.
func (v Values) Times(f *Family, bounds []time.Duration, buckets []uint64, sum time.Duration, labels ...string) {
	upTo := make(map[float64]uint64, len(bounds))
	count := uint64(0)
	for i, n := range buckets {
		count += n
		if i < len(bounds) {
			upTo[bounds[i].Seconds()] = count
		}
	}
	v.to <- prometheus.MustNewConstHistogram(f.desc, count, sum.Seconds(), upTo, labels...)
}

// collector reads families when it is scraped.
type collector struct {
	families []*Family
	read     func(Values)
}

func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range c.families {
		to <- f.desc
	}
}

func (c *collector) Collect(to chan<- prometheus.Metric) { c.read(Values{to}) }
