package restauth

import (
	"encoding/binary"
	"hash/maphash"
)

// A directory finds users by name and alias. It holds no pointers but to three
// blocks of bytes and numbers: the garbage collector, which runs about once a
// second under load, need not walk every user. With 40,000 users that was a
// tenth of a call's CPU time (see BENCHMARKS.md).
type directory struct {
	text  string   // the users one after the other; see pack
	users []uint32 // where each begins in text, in the order of the files
	seed  maphash.Seed
	slots []slot // an open hash table, at most half full
}

// A slot names a user by one of his names.
type slot struct {
	user uint32 // counted from 1; 0: the slot is free
	name uint32 // where the name is in text
}

// newDirectory packs users; byName says who has which name.
func newDirectory(users []User, byName map[string]*User) *directory {
	size := 4
	for size < 2*len(byName) {
		size *= 2
	}
	d := &directory{users: make([]uint32, len(users)), seed: maphash.MakeSeed(), slots: make([]slot, size)}
	var b []byte
	number := make(map[*User]uint32, len(users))
	for i := range users {
		d.users[i] = uint32(len(b))
		b = pack(b, &users[i])
		number[&users[i]] = uint32(i + 1)
	}
	for name, user := range byName {
		at := len(b)
		b = appendText(b, name)
		i := d.home(name)
		for d.slots[i].user != 0 {
			i = (i + 1) % len(d.slots)
		}
		d.slots[i] = slot{number[user], uint32(at)}
	}
	d.text = string(b)
	return d
}

func (d *directory) home(name string) int {
	return int(maphash.String(d.seed, name) & uint64(len(d.slots)-1))
}

// find returns the user of that name or alias, nil when there is none. It is a
// new User each time; users are the same when their names are.
func (d *directory) find(name string) *User {
	for i := d.home(name); d.slots[i].user != 0; i = (i + 1) % len(d.slots) {
		if got, _ := cutText(d.text[d.slots[i].name:]); got == name {
			return d.user(int(d.slots[i].user - 1))
		}
	}
	return nil
}

// user returns the i-th user.
func (d *directory) user(i int) *User { return unpack(d.text[d.users[i]:]) }

// texts are the user's plain fields in the order in which they are packed.
func (u *User) texts() [11]*string {
	return [...]*string{&u.Name, &u.Identity, &u.DisplayName, &u.SIPPassword, &u.SIPHA1, &u.SIPHA1SHA256,
		&u.pin.clear, &u.pin.md5, &u.pin.sha256, &u.pin.crypt, &u.Policy}
}

func pack(b []byte, u *User) []byte {
	for _, s := range u.texts() {
		b = appendText(b, *s)
	}
	b = binary.AppendUvarint(b, uint64(len(u.Aliases)))
	for _, a := range u.Aliases {
		b = appendText(b, a)
	}
	return b
}

func unpack(s string) *User {
	u := new(User)
	for _, p := range u.texts() {
		*p, s = cutText(s)
	}
	n, s := cutNumber(s)
	if n > 0 {
		u.Aliases = make([]string, n)
		for i := range u.Aliases {
			u.Aliases[i], s = cutText(s)
		}
	}
	return u
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func cutText(s string) (text, rest string) {
	n, s := cutNumber(s)
	return s[:n], s[n:]
}

func cutNumber(s string) (n int, rest string) {
	for i, shift := 0, 0; ; i, shift = i+1, shift+7 {
		n |= int(s[i]&0x7f) << shift
		if s[i] < 0x80 {
			return n, s[i+1:]
		}
	}
}

// is reports whether both are the same user, and there is one.
func (u *User) is(other *User) bool {
	return u != nil && other != nil && u.Name == other.Name
}
