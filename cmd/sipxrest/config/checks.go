package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"sipxrest/internal/setting"
)

// The checks of single keys. Each gets what setting.Field.At is for its kind of
// value, and returns an error for each mistake.

// between wants a time within bounds.
func between(least, most time.Duration) func(any) error {
	return func(at any) error { return span(*at.(*time.Duration), least, most) }
}

func span(d, least, most time.Duration) error {
	if d < least || d > most {
		return fmt.Errorf("%v is not between %v and %v", d, least, most)
	}
	return nil
}

// orZero lets a time be 0, too, which means something else.
func orZero(check func(any) error) func(any) error {
	return func(at any) error {
		if *at.(*time.Duration) == 0 {
			return nil
		}
		return check(at)
	}
}

// count wants a number from 1 to most.
func count(most int) func(any) error {
	return func(at any) error {
		if n := *at.(*int); n < 1 || n > most {
			return fmt.Errorf("%d is not between 1 and %d", n, most)
		}
		return nil
	}
}

const noLimit = "for no limit"

// countOr wants a number from 1 to most, or 0 for what none says.
func countOr(most int, none string) func(any) error {
	return func(at any) error {
		if n := *at.(*int); n < 0 || n > most {
			return fmt.Errorf("%d is not between 1 and %d: write such a number, or 0 %s", n, most, none)
		}
		return nil
	}
}

// recordBytes wants room for some records.
func recordBytes(at any) error {
	if n := *at.(*int); n < 1<<20 || n > 1<<40 {
		return fmt.Errorf("%d is not between %d and %d bytes (1 MiB and 1 TiB)", n, 1<<20, 1<<40)
	}
	return nil
}

// shareOf wants a part of all.
func shareOf(at any) error {
	if s := *at.(*float64); !(s >= 0 && s <= 1) {
		return fmt.Errorf("%v is not a share: write a number from 0 to 1, such as 0.1 for a tenth", s)
	}
	return nil
}

// word wants one of several words.
func word(words ...string) func(any) error {
	return func(at any) error {
		got := *at.(*string)
		if slices.Contains(words, got) {
			return nil
		}
		if best := setting.Nearest(got, words); best != "" {
			return fmt.Errorf("%q is unknown: did you mean %q?", got, best)
		}
		return fmt.Errorf("%q is unknown: write %s", got, setting.OrList(words))
	}
}

// origins wants browser pages.
func origins(at any) error {
	var errs []error
	for _, s := range *at.(*[]string) {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || s != u.Scheme+"://"+u.Host {
			errs = append(errs, fmt.Errorf("%q: write the page's scheme and host, such as https://portal.example, without a path", s))
		}
	}
	return errors.Join(errs...)
}
