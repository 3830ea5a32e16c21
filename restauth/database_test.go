package restauth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipxrest/restauth/imdb"
)

func imdbUsers(names ...string) *imdb.Users {
	u := &imdb.Users{}
	for i, name := range names {
		u.List = append(u.List, imdb.User{ID: fmt.Sprint("User", i+1), Name: name, PINToken: "12" + name, SIPPassword: "sip" + name,
			Aliases: []string{"a" + name, "bad alias"}})
		u.Sum[0] += byte(len(name)) + name[len(name)-1]
	}
	return u
}

// withDatabase are users of a file and of a database, which holds read.
func withDatabase(t *testing.T, read *imdb.Users) *Users {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.yaml")
	if err := os.WriteFile(file, []byte(`- {user: "100", pin: "1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const url = "mongodb://reader:s3cret@db.test/"
	d, err := openDatabase(url)
	if err != nil {
		t.Fatal(err)
	}
	u := &Users{cfg: UsersConfig{Domain: testDomain, Realm: testDomain, Files: []string{url, file}}, files: []string{file},
		databases: []*database{d}}
	if _, err := d.take(read, nil); err != nil {
		t.Fatal(err)
	}
	if err := u.rereadNow(); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUsersOfADatabaseStandBesideThoseOfFiles(t *testing.T) {
	read := imdbUsers("201", "202", "203")
	read.List[1].PINToken, read.List[1].SIPPassword, read.List[1].SIPHash = strings.Repeat("A", 32), "", strings.Repeat("B", 32)
	read.List[2].Name = "not a name"
	u := withDatabase(t, read)
	if u.Len() != 3 {
		t.Errorf("%d users, want 3", u.Len())
	}
	bob, ok := u.Lookup("a201@sipx.test")
	if !ok || bob.Name != "201" || bob.Identity != "201@sipx.test" || bob.ClearPIN() != "12201" || bob.SIPPassword != "sip201" {
		t.Errorf("got %v, %v", bob, ok)
	}
	if got, _ := u.Lookup("202"); got.pin != (pin{md5: strings.Repeat("a", 32)}) || got.SIPHA1 != strings.Repeat("b", 32) ||
		got.SIPPassword != "" {
		t.Error("the hashes of 202 are not taken as such")
	}
	if _, ok := u.Lookup("100"); !ok {
		t.Error("100 of the file is missing")
	}
	warnings := strings.Join(u.Warnings(), "\n")
	for _, want := range []string{`mongodb://db.test/imdb User1: alias "bad alias" is left out`, "mongodb://db.test/imdb User3: left out"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("no warning %q in %s", want, warnings)
		}
	}
}

func TestUsersStayWhileTheirDatabaseCannotBeRead(t *testing.T) {
	u := withDatabase(t, imdbUsers("201"))
	d := u.databases[0]
	for _, failure := range []error{errors.New("no server"), nil} { // nil: it holds nobody
		differs, err := d.take(imdbUsers(), failure)
		if differs || err == nil {
			t.Errorf("%v: differs %v, error %v", failure, differs, err)
		}
		if all, down := u.Databases(); all != 1 || down != 1 {
			t.Errorf("%d of %d databases are down", down, all)
		}
		if err := u.rereadNow(); err != nil || u.Len() != 2 {
			t.Errorf("%d users: %v", u.Len(), err)
		}
	}
	if differs, err := d.take(imdbUsers("201"), nil); differs || err != nil {
		t.Errorf("the same users: differs %v, error %v", differs, err)
	}
	if differs, err := d.take(imdbUsers("201", "205"), nil); !differs || err != nil {
		t.Errorf("other users: differs %v, error %v", differs, err)
	}
	if err := u.rereadNow(); err != nil || u.Len() != 3 {
		t.Errorf("%d users: %v", u.Len(), err)
	}
	if _, down := u.Databases(); down != 0 {
		t.Error("it is still down")
	}
}

func TestTheServiceDoesNotStartWithoutItsDatabase(t *testing.T) {
	_, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{"mongodb://reader:s3cret@127.0.0.1:1/?serverSelectionTimeoutMS=1"}})
	if err == nil || !strings.Contains(err.Error(), "mongodb://127.0.0.1:1/imdb: ") || !strings.Contains(err.Error(),
		"the service starts when the database can be read") {
		t.Errorf("error %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "s3cret") {
		t.Error("the error holds the password")
	}
	_, err = LoadUsers(UsersConfig{Domain: testDomain, Files: []string{"mongodb+srv://reader:s3cret@db.test"}})
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "name the servers") {
		t.Errorf("error %v", err)
	}
}

func TestUsersOfAnExport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "entity.json")
	if err := os.WriteFile(file, []byte(`{"_id":"User1","uid":"201","vld":true,"pntk":"1234","pstk":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	if bob, ok := u.Lookup("201"); !ok || bob.ClearPIN() != "1234" || !bob.HasSIPSecret() {
		t.Errorf("got %v, %v", bob, ok)
	}
}
