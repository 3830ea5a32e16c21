package imdb

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
)

const (
	// pollEvery is how often the users are read where nobody tells of changes, or
	// nobody answers. No document says when it was changed, so a poll reads the
	// fields that count: 10,000 users are some 2 MB.
	pollEvery = 30 * time.Second
	// settle is how long after the first sign of a change the users are read.
	// sipXconfig writes all of them again, one by one, when much has changed.
	settle = 2 * time.Second
	// lookEvery is how often they are read although no change was told.
	lookEvery = 10 * time.Minute
)

// Watch reads the users and tells them, or why they cannot be read, now and
// whenever they may have changed, until ctx ends. A replica set tells of changes.
// Everything else is asked each pollEvery.
func (d *Database) Watch(ctx context.Context, tell func(*Users, error)) {
	client, err := d.connect()
	if err != nil { // the URL was valid
		tell(nil, d.told(err))
		return
	}
	defer disconnect(client)
	var mute time.Time // until then nobody is asked to tell of changes
	for ctx.Err() == nil {
		var stream *mongo.ChangeStream
		if time.Now().After(mute) {
			var err error
			if stream, err = d.listen(ctx, client); cannotListen(err) {
				mute = time.Now().Add(lookEvery)
			}
		}
		// What is changed after the stream was opened is told by it.
		users, err := d.read(ctx, client)
		if ctx.Err() != nil {
			hangUp(ctx, stream)
			return
		}
		tell(users, err)
		wait := pollEvery
		if stream != nil {
			if err == nil && changed(ctx, stream) {
				wait = settle
			}
			hangUp(ctx, stream)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// listen asks the server to tell of changes. They are told without what was
// written.
func (d *Database) listen(ctx context.Context, client *mongo.Client) (*mongo.ChangeStream, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	only := mongo.Pipeline{{{Key: "$project", Value: bson.D{{Key: "operationType", Value: 1}}}}}
	return d.entities(client).Watch(ctx, only, options.ChangeStream().SetMaxAwaitTime(connectTimeout))
}

// cannotListen reports whether a server has refused to tell of changes, which it
// will do again: it is no replica set, or the user may not ask for that.
func cannotListen(err error) bool {
	var refused mongo.CommandError
	return errors.As(err, &refused) && !refused.HasErrorLabel("NetworkError") && !refused.HasErrorLabel("ResumableChangeStreamError")
}

// changed waits for a change, and reports whether there was one or enough time
// has passed that one may have been missed. False: the stream has ended.
func changed(ctx context.Context, stream *mongo.ChangeStream) bool {
	end := time.Now().Add(lookEvery)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	return stream.Next(ctx) || time.Until(end) < readTimeout // the driver ends a little before
}

func hangUp(ctx context.Context, stream *mongo.ChangeStream) {
	if stream == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), disconnectTimeout)
	defer cancel()
	_ = stream.Close(ctx)
}
