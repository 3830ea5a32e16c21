package restauth

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill sets every field of v to something of its own, so that a field that is
// added to User and not packed shows.
func fill(v reflect.Value, next *int) {
	v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem() // unexported ones too
	*next++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), next)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *next))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), next)
		fill(v.Index(1), next)
	default:
		panic("a field of a new kind: " + v.Kind().String())
	}
}

func TestDirectoryKeepsEveryField(t *testing.T) {
	var n int
	want := make([]User, 3)
	for i := range want {
		fill(reflect.ValueOf(&want[i]).Elem(), &n)
	}
	want[1].Aliases = nil
	want[2].DisplayName = string(make([]byte, 300)) // its length takes two bytes
	byName := map[string]*User{}
	for i := range want {
		byName[want[i].Name] = &want[i]
		for _, a := range want[i].Aliases {
			byName[a] = &want[i]
		}
	}
	d := newDirectory(want, byName)
	for name, user := range byName {
		if diff := cmp.Diff(user, d.find(name), cmp.AllowUnexported(User{}, pin{})); diff != "" {
			t.Errorf("%q: %s", name, diff)
		}
	}
	for i := range want {
		if diff := cmp.Diff(&want[i], d.user(i), cmp.AllowUnexported(User{}, pin{})); diff != "" {
			t.Errorf("user %d: %s", i, diff)
		}
	}
}

func TestDirectoryFindsEachOfManyAndNobodyElse(t *testing.T) {
	users := make([]User, 5000)
	byName := map[string]*User{}
	for i := range users {
		users[i].Name = fmt.Sprint(i)
		byName[users[i].Name] = &users[i]
	}
	d := newDirectory(users, byName)
	for i := range users {
		if u := d.find(fmt.Sprint(i)); u == nil || u.Name != fmt.Sprint(i) {
			t.Fatalf("%d: found %v", i, u)
		}
	}
	for _, name := range []string{"", "5000", "00", "1\x00"} {
		if u := d.find(name); u != nil {
			t.Errorf("%q: found %v", name, u)
		}
	}
	if u := newDirectory(nil, nil).find("1"); u != nil {
		t.Errorf("nobody: found %v", u)
	}
}
