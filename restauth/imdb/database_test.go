package imdb

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Documents as sipXconfig writes them.
var (
	bob = bson.D{{Key: "_id", Value: "User1"}, {Key: "ent", Value: "user"}, {Key: "uid", Value: "201"}, {Key: "ident",
		Value: "201@sipx.test"}, {Key: "dspl", Value: "Bob Caller"},
		{Key: "pntk", Value: "1234"}, {Key: "pstk", Value: "secret"}, {Key: "hshpstk", Value: strings.Repeat("a", 32)}, {Key: "vld", Value: true},
		{Key: "als", Value: bson.A{bson.M{"id": "bob", "cnt": "sip:201@sipx.test", "rln": "alias"}, bson.M{"id": "7201", "rln": "fax"},
			bson.M{"id": "201", "rln": "userforward"}, "junk"}}}
	alice = bson.D{{Key: "_id", Value: "User2"}, {Key: "uid", Value: int32(202)}, {Key: "vld", Value: true}, {Key: "pntk", Value: nil},
		{Key: "als", Value: "junk"}}
	off  = bson.D{{Key: "_id", Value: "User3"}, {Key: "uid", Value: "203"}, {Key: "vld", Value: false}}
	park = bson.D{{Key: "_id", Value: "ParkOrbit4"}, {Key: "vld", Value: true}, {Key: "als", Value: bson.A{bson.M{"id": "700",
		"rln": "alias"}}}}
	odd = bson.D{{Key: "_id", Value: primitive.NewObjectID()}, {Key: "uid", Value: "204"}, {Key: "vld", Value: true}}

	wantBob = User{ID: "User1", Name: "201", Identity: "201@sipx.test", DisplayName: "Bob Caller", Aliases: []string{"bob", "7201"},
		PINToken: "1234", SIPPassword: "secret", SIPHash: strings.Repeat("a", 32)}
	wantAlice = User{ID: "User2", Name: "202"}
)

func TestUsersAreReadAsSipXconfigWroteThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, bob, alice, off, park, odd)
		got, err := s.database().Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]User{wantBob, wantAlice}, got.List); diff != "" {
			t.Error(diff)
		}
		if want := `{"vld": true}`; s.filter.String() != want {
			t.Errorf("asked for %s, want %s", s.filter, want)
		}
		for _, f := range []string{"vld", "uid", "ident", "dspl", "pntk", "pstk", "hshpstk", "als.id"} {
			if _, err := s.fields.LookupErr(f); err != nil {
				t.Errorf("%s is not asked for: %s", f, s.fields)
			}
		}
		s.setDocs(bob, alice)
		again, err := s.database().Read(t.Context())
		if err != nil || again.Sum != got.Sum {
			t.Errorf("the same users have another sum: %v", err)
		}
		s.setDocs(bob)
		if less, err := s.database().Read(t.Context()); err != nil || less.Sum == got.Sum {
			t.Errorf("other users have the same sum: %v", err)
		}
	})
}

func TestADatabaseThatIsNotThereIsSaidWithoutItsPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.down = true
		d := s.database()
		d.url = "mongodb://reader:s3cret%40pass@" + serverAddress + "/"
		began := time.Now()
		_, err := d.Read(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), "mongodb://db.test:27017/imdb: ") || !strings.Contains(err.Error(),
			"connection refused") {
			t.Fatalf("error %v", err)
		}
		if strings.Contains(err.Error(), "s3cret") || strings.Contains(fmt.Sprintf("%v %+v %#v %s", d, d, d, d), "s3cret") {
			t.Errorf("the password is told: %v, %+v", err, d)
		}
		if took := time.Since(began); took > readTimeout {
			t.Errorf("it took %v", took)
		}
		for _, text := range []string{"bad reader:s3cret%40pass", "bad s3cret@pass", "s3cret%40pass"} {
			if got := d.clean(text); strings.Contains(got, "s3cret") {
				t.Errorf("clean(%q) = %q", text, got)
			}
		}
		if got := d.clean(strings.Repeat("x ", 1000)); len(got) > maxText+len("…") {
			t.Errorf("%d bytes", len(got))
		}
	})
}

func TestARefusalIsToldAsTheServerSaysIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, bob)
		s.refused = "not authorized on imdb to execute command"
		if _, err := s.database().Read(t.Context()); err == nil || !strings.Contains(err.Error(), s.refused) {
			t.Errorf("error %v", err)
		}
	})
}

// watched collects what Watch tells.
func watched(ctx context.Context, s *server) (next func() string) {
	told := make(chan string, 100)
	go func() {
		s.database().Watch(ctx, func(u *Users, err error) {
			if err != nil {
				told <- "error"
				return
			}
			told <- fmt.Sprint(len(u.List))
		})
		close(told)
	}()
	return func() string { return <-told }
}

func TestAReplicaSetTellsOfChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, bob)
		s.replica = true
		ctx, stop := context.WithCancel(t.Context())
		next := watched(ctx, s)
		if got := next(); got != "1" {
			t.Fatalf("at first %s", got)
		}
		time.Sleep(time.Minute)
		began := time.Now()
		s.setDocs(bob, alice)
		if got := next(); got != "2" {
			t.Errorf("after a change %s", got)
		}
		if took := time.Since(began); took > settle+time.Second {
			t.Errorf("it took %v", took)
		}
		if s.finds != 2 {
			t.Errorf("%d reads within a minute", s.finds)
		}
		if got := next(); got != "2" { // nothing changes: it is looked anyway
			t.Errorf("later %s", got)
		}
		if took := time.Since(began); took > lookEvery+time.Minute {
			t.Errorf("it took %v", took)
		}
		s.set(func() { s.down = true })
		for next() != "error" {
		}
		s.set(func() { s.down = false })
		for next() == "error" {
		}
		stop()
		for next() != "" {
		}
		time.Sleep(2 * time.Second) // the server's goroutines end
	})
}

func TestASingleServerIsAskedEachHalfMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, bob)
		ctx, stop := context.WithCancel(t.Context())
		next := watched(ctx, s)
		began := time.Now()
		for i := range 5 {
			if got := next(); got != "1" {
				t.Fatalf("read %d: %s", i, got)
			}
		}
		if took := time.Since(began); took < 4*pollEvery || took > 4*pollEvery+time.Second {
			t.Errorf("5 reads took %v", took)
		}
		s.set(func() { s.down = true })
		if got := next(); got != "error" {
			t.Errorf("while it is down: %s", got)
		}
		s.set(func() { s.down = false })
		for next() == "error" {
		}
		stop()
		for next() != "" {
		}
		time.Sleep(2 * time.Second) // the server's goroutines end
	})
}

func TestURLs(t *testing.T) {
	for url, name := range map[string]string{
		"mongodb://a,b:27018/?readPreference=nearest&replicaSet=x&readPreferenceTags=clusterId:1;readPreferenceTags=": "mongodb://a,b:27018/imdb",
		"mongodb://u:p%2Fw@a/users?authSource=admin":                                                                  "mongodb://a/users",
		"mongodb://a":             "mongodb://a/imdb",
		"mongodb://u:p/w@a/users": "mongodb://…", "mongodb+srv://u:p@a/users": "mongodb://…", "mongodb://": "mongodb://…",
		"users.yaml": "users.yaml",
	} {
		if got := Name(url); got != name {
			t.Errorf("Name(%s) = %s, want %s", url, got, name)
		}
		if d, err := Open(url); (err == nil) != (IsURL(name) && !strings.HasSuffix(name, "…")) {
			t.Errorf("Open(%s) = %v, %v", url, d, err)
		} else if err != nil && (strings.Contains(err.Error(), "p/w") || strings.Contains(err.Error(), "u:p@")) {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

func TestAnExportIsRead(t *testing.T) {
	const lines = `{"_id":"User1","uid":"201","vld":true,"pntk":"1234","als":[{"id":"bob","rln":"alias"}]}
{"_id":"User2","uid":{"$numberInt":"202"},"vld":true}
{"_id":{"$oid":"5f5f5f5f5f5f5f5f5f5f5f5f"},"uid":"x","vld":true}
`
	if !IsExport([]byte("\n"+lines)) || IsExport([]byte("- {user: a}")) || IsExport([]byte(`[{"user": "a"}]`)) || IsExport(nil) {
		t.Error("IsExport is wrong")
	}
	got, err := ReadExport([]byte(lines))
	if err != nil {
		t.Fatal(err)
	}
	want := []User{{ID: "User1", Name: "201", PINToken: "1234", Aliases: []string{"bob"}}, {ID: "User2", Name: "202"}}
	if diff := cmp.Diff(want, got.List); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`{"pntk":"s3cret`, `{"a":1} 7`, `{"a":1} [{"pntk":"s3cret"}]`, `{"a":{"$oid":"s3cret"}}`} {
		if _, err := ReadExport([]byte(bad)); err == nil || !strings.Contains(err.Error(), "document ") || strings.Contains(err.Error(),
			"s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// FuzzEntity: whatever a server sends is read or refused.
func FuzzEntity(f *testing.F) {
	for _, doc := range []any{bob, alice, off, park, odd} {
		raw, err := bson.Marshal(doc)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newReading()
		if err := r.add(data); err == nil {
			for _, u := range r.users().List {
				if !strings.HasPrefix(u.ID, "User") {
					t.Errorf("%+v", u)
				}
			}
		}
	})
}
