package talk_test

import (
	"errors"
	"reflect"
	"testing"

	"sipxrest/talk"
)

// Each user is told everything, whichever functions it has, and a request is for
// the first that takes any.
func TestSeveralUsersOfOneClientAreTold(t *testing.T) {
	var told []string
	user := func(name string) talk.Handler {
		note := func(what string) { told = append(told, name+" "+what) }
		return talk.Handler{
			Dialout:   func(*talk.Request) { note("dialout") },
			Control:   func(*talk.Session, talk.Control) { note("control") },
			Room:      func(*talk.Session, talk.RoomEvent) { note("room") },
			Media:     func(*talk.Room, talk.MediaMessage) { note("media") },
			Added:     func(*talk.Session, string) { note("added") },
			AddFailed: func(*talk.Session, string, error) { note("add failed") },
			InDoubt:   func(*talk.Session, talk.Phone) { note("in doubt") },
			Up:        func(*talk.Session, talk.Hello) { note("up") },
			Again:     func(*talk.Session, string) { note("again") },
			Down:      func(*talk.Session, error) { note("down") },
		}
	}
	a, b := user("a"), user("b")
	h := talk.Handlers(talk.Handler{}, a, b)
	// A function that Handlers does not know of would be nil here.
	v, n := reflect.ValueOf(h), 0
	for i := range v.NumField() {
		if v.Field(i).IsNil() {
			t.Errorf("%s is passed on to nobody", v.Type().Field(i).Name)
			continue
		}
		args := make([]reflect.Value, v.Field(i).Type().NumIn())
		for j := range args {
			args[j] = reflect.Zero(v.Field(i).Type().In(j))
		}
		told = nil
		v.Field(i).Call(args)
		want := 2
		if v.Type().Field(i).Name == "Dialout" {
			want = 1
		}
		if len(told) != want || told[0][0] != 'a' {
			t.Errorf("%s: told %q", v.Type().Field(i).Name, told)
		}
		n++
	}
	if n != 10 {
		t.Errorf("%d functions", n)
	}
	if talk.Handlers(talk.Handler{}).Dialout != nil {
		t.Error("nobody takes requests, and they are not refused")
	}
	talk.Handlers().Down(nil, errors.New("x"))
}
