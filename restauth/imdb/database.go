package imdb

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/mongo/readpref"
)

const (
	scheme            = "mongodb://"
	schemeSRV         = "mongodb+srv://"
	defaultDatabase   = "imdb"
	collection        = "entity"
	maxText           = 500 // bytes of what the driver says of an error
	selectionTimeout  = 5 * time.Second
	connectTimeout    = 5 * time.Second
	readTimeout       = 20 * time.Second
	disconnectTimeout = 2 * time.Second
)

// IsURL reports whether the name of a place of users is a database's, not a file's.
func IsURL(name string) bool {
	return strings.HasPrefix(name, scheme) || strings.HasPrefix(name, schemeSRV)
}

// A Database is a place of users. Its methods may be called from any goroutine.
type Database struct {
	url  string
	dial options.ContextDialer // of tests; nil: TCP
	name string                // of the database
}

// Open takes a URL, mongodb://user:password@host1:27017,host2/imdb?replicaSet=sipxecs.
// It connects to nobody yet. Neither the error nor any later one holds the user
// and his password.
func Open(url string) (*Database, error) {
	switch {
	case strings.HasPrefix(url, schemeSRV):
		return nil, errors.New("mongodb+srv:// is not read: name the servers, mongodb://host1:27017,host2:27017/imdb")
	case !strings.HasPrefix(url, scheme):
		return nil, errors.New("want a URL such as mongodb://127.0.0.1:27017/imdb")
	}
	d := &Database{url: url, name: defaultDatabase}
	opts := options.Client().ApplyURI(url)
	if err := opts.Validate(); err != nil {
		if strings.Contains(url, "@") || strings.Contains(strings.ToLower(url), "password") { // what the driver says may hold a part of it
			return nil, errors.New("the URL cannot be read: want mongodb://user:password@host:27017/imdb, in user and password each of :/?#[]@ as in %40")
		}
		return nil, fmt.Errorf("the URL cannot be read: %w", err)
	}
	if name := database(url); name != "" {
		d.name = name
	}
	return d, nil
}

// split cuts a valid URL into its parts: the user, the servers, and what follows.
func split(url string) (user, hosts, rest string) {
	hosts = strings.TrimPrefix(url, scheme)
	if i := strings.IndexAny(hosts, "/?"); i >= 0 {
		hosts, rest = hosts[:i], hosts[i:]
	}
	if at := strings.LastIndexByte(hosts, '@'); at >= 0 {
		user, hosts = hosts[:at], hosts[at+1:]
	}
	return user, hosts, rest
}

// database is the name of the database in a valid URL; "" when there is none.
func database(text string) string {
	_, _, rest := split(text)
	name, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "?")
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}

// Name is a place of users for people: a file's name, or a URL without the user, his
// password and the options.
func Name(place string) string {
	if !IsURL(place) {
		return place
	}
	d, err := Open(place)
	if err != nil { // who knows what is the password
		return scheme + "…"
	}
	return d.String()
}

// String is the database's Name.
func (d *Database) String() string {
	_, hosts, _ := split(d.url)
	return scheme + hosts + "/" + d.name
}

// GoString is String, for %#v.
func (d *Database) GoString() string { return d.String() }

// connect makes a client, which has goroutines until it is disconnected.
func (d *Database) connect() (*mongo.Client, error) {
	opts := options.Client().SetServerSelectionTimeout(selectionTimeout).SetConnectTimeout(connectTimeout).SetMaxPoolSize(2).
		SetAppName("sipxrest").SetReadPreference(readpref.PrimaryPreferred()).ApplyURI(d.url) // the URL's options count
	if d.dial != nil {
		opts.SetDialer(d.dial)
	}
	return mongo.Connect(context.Background(), opts)
}

func disconnect(client *mongo.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), disconnectTimeout)
	defer cancel()
	_ = client.Disconnect(ctx)
}

// Read reads the users once. It takes readTimeout at most.
func (d *Database) Read(ctx context.Context) (*Users, error) {
	client, err := d.connect()
	if err != nil {
		return nil, d.told(err)
	}
	defer disconnect(client)
	return d.read(ctx, client)
}

func (d *Database) read(ctx context.Context, client *mongo.Client) (*Users, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	fields := bson.D{}
	for _, f := range []string{fieldValid, fieldName, fieldIdentity, fieldDisplayName, fieldPIN, fieldSIPPassword, fieldSIPHash, fieldAliases + "." + fieldAlias} {
		fields = append(fields, bson.E{Key: f, Value: 1})
	}
	found, err := d.entities(client).Find(ctx, bson.D{{Key: fieldValid, Value: true}}, options.Find().SetProjection(fields).SetSort(bson.D{{Key: fieldID, Value: 1}}))
	if err != nil {
		return nil, d.told(err)
	}
	defer found.Close(context.WithoutCancel(ctx))
	r := newReading()
	for found.Next(ctx) {
		if err := r.add(found.Current); err != nil {
			return nil, d.told(err)
		}
	}
	if err := found.Err(); err != nil {
		return nil, d.told(err)
	}
	return r.users(), nil
}

func (d *Database) entities(client *mongo.Client) *mongo.Collection {
	return client.Database(d.name).Collection(collection)
}

// told is an error for people: it names the database, is short, and holds neither
// the user of the URL nor his password.
func (d *Database) told(err error) error {
	return &Error{Database: d.String(), Text: d.clean(err.Error()), cause: err}
}

// An Error is why a database cannot be read.
type Error struct {
	Database string // its Name
	Text     string
	cause    error
}

func (e *Error) Error() string { return e.Database + ": " + e.Text }

// Unwrap returns what the driver said, whose text may hold what ours must not.
func (e *Error) Unwrap() error { return e.cause }

// clean takes secrets out of what the driver says, and bounds it.
func (d *Database) clean(s string) string {
	user, _, _ := split(d.url)
	_, password, _ := strings.Cut(user, ":")
	plain, err := url.PathUnescape(password)
	if err != nil {
		plain = ""
	}
	for _, secret := range []string{user, password, plain} {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "[redacted]")
		}
	}
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
