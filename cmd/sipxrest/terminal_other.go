//go:build !linux

package main

import (
	"errors"
	"os"
)

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func hideInput(*os.File) (restore func(), err error) {
	return nil, errors.New("the input cannot be hidden here: use a pipe")
}
