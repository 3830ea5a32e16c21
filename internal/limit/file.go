package limit

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ReadFile reads a regular file of at most most bytes. Everything else is an
// error that names the file and says why it is not read: a device has no end,
// and a pipe would keep the reader waiting for its writer. It may still take
// long where a network file system does not respond.
func ReadFile(name string, most int) ([]byte, error) {
	f, err := OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > int64(most) {
		return nil, tooLarge(name, most)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1)) // it may grow meanwhile; /proc says 0
	if err != nil {
		return nil, err
	}
	if len(data) > most {
		return nil, tooLarge(name, most)
	}
	return data, nil
}

// OpenFile opens a regular file to read it, without waiting for anybody.
func OpenFile(name string) (*os.File, error) {
	// First by name, for opening a device may already do something.
	info, err := os.Stat(name)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			at.Op = "open" // as os.Open says
		}
		return nil, err
	}
	if err := regular(name, info); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe may have come in its place
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = regular(name, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ErrNotRegular says that a name is not that of a regular file.
var ErrNotRegular = errors.New("it is not a regular file")

func regular(name string, info fs.FileInfo) error {
	mode := info.Mode()
	what := ""
	switch {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		what = "a folder"
	case mode&fs.ModeNamedPipe != 0:
		what = "a pipe"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	default:
		what = "a device"
	}
	return fmt.Errorf("%s: %w but %s: name a file", name, ErrNotRegular, what)
}

// ErrTooLarge says that a file has more bytes than are read.
var ErrTooLarge = errors.New("too large")

func tooLarge(name string, most int) error {
	text := fmt.Sprintf("%d bytes", most)
	switch {
	case most%(1<<20) == 0:
		text = fmt.Sprintf("%d MiB", most>>20)
	case most%(1<<10) == 0:
		text = fmt.Sprintf("%d KiB", most>>10)
	}
	return fmt.Errorf("%s is %w: it has more than %s, and no more is read", name, ErrTooLarge, text)
}

// maxPEM bounds a file with certificates or a key, in bytes: the authorities of a
// system have some 250 KiB.
const maxPEM = 4 << 20

// ReadPEM reads a file with certificates or a key.
func ReadPEM(name string) ([]byte, error) { return ReadFile(name, maxPEM) }

// LoadX509KeyPair is tls.LoadX509KeyPair with files that are bounded.
func LoadX509KeyPair(cert, key string) (tls.Certificate, error) {
	certPEM, err := ReadPEM(cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := ReadPEM(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}
