package callcontroller

// Stats is what the controller holds now and has given up since it was made.
type Stats struct {
	Records int    // of running and finished calls; those that expired lately included
	Bytes   int64  // of their status lines
	GivenUp uint64 // records of finished calls that Config.MaxRecords or MaxRecordBytes had no room for
}

// Stats reads the counters.
func (c *Controller) Stats() Stats {
	rs := c.records
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return Stats{Records: rs.cache.ItemCount(), Bytes: rs.bytes.Load(), GivenUp: rs.givenUp}
}
