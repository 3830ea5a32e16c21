package config

import (
	"errors"
	"fmt"
	"strings"

	"sipxrest/restauth/imdb"
)

// checkUsers checks the URLs in "users". Its errors hold no password.
func checkUsers(at any) error {
	var errs []error
	for _, place := range *at.(*[]string) {
		if !imdb.IsURL(place) {
			continue
		}
		if _, err := imdb.Open(place); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", imdb.Name(place), err))
		}
	}
	return errors.Join(errs...)
}

// UserFiles are those of Users that are files.
func (c *Config) UserFiles() (files []string) {
	for _, place := range c.Users {
		if !imdb.IsURL(place) {
			files = append(files, place)
		}
	}
	return files
}

// UsersFrom names the places of users, for people: without passwords.
func (c *Config) UsersFrom() string {
	names := make([]string, len(c.Users))
	for i, place := range c.Users {
		names[i] = imdb.Name(place)
	}
	return strings.Join(names, ", ")
}
