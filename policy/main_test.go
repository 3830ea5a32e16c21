package policy

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is one of a German office with 201, who is also bob, and a user whose
// name is a long number.
func book(t testing.TB, adjust ...func(*Config)) *Book {
	t.Helper()
	cfg := Config{Domain: "sipx.test", Dial: Dial{Country: "DE"},
		Known: func(user string) bool { return user == "201" || user == "bob" || user == "4930123456789" }}
	for _, f := range adjust {
		f(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func country(c string) func(*Config) { return func(cfg *Config) { cfg.Dial.Country = c } }
