// Package imdb reads the users of a sipXcom installation of release 4.6 or later.
// They are in MongoDB: in the collection "entity" of the database "imdb", which
// sipXconfig writes. It reads what `mongoexport` makes of that collection, too.
package imdb
