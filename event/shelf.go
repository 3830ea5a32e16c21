package event

import "context"

// A Shelf is where the nodes of a cluster keep the webhooks: entries by name, each of
// them with the number of the change that made it.
type Shelf interface {
	// Write writes all entries or none, and returns the number of the last one; those
	// before it have the numbers before. Nothing is written, and ErrTaken returned, unless
	// each of the names in on has the number that it says, 0 for none. An entry without
	// data is removed.
	Write(ctx context.Context, list []ShelfEntry, on map[string]int64) (last int64, err error)
	// Follow has all get everything that there is, up to a number, then take each change
	// behind it, until ctx ends or an error comes.
	Follow(ctx context.Context, all func(list []ShelfEntry, upTo int64), take func(ShelfEntry)) error
}

// A ShelfEntry is one of them. Names are tokens that points part.
type ShelfEntry struct {
	Name string
	Data []byte
	Seq  int64
}

// maxShelfBatch bounds what is written at once.
const maxShelfBatch = 250
