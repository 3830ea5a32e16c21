package app

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// parts are the goroutines of a running App, each joined before Run returns.
type parts struct {
	failed chan error // the first error
	all    sync.WaitGroup
	named  map[string]*sync.WaitGroup // written before anything waits
}

func newParts() *parts {
	return &parts{failed: make(chan error, 1), named: map[string]*sync.WaitGroup{}}
}

// start runs one part. An error that it returns is reported on failed.
func (p *parts) start(name string, run func() error) {
	wg := p.named[name]
	if wg == nil {
		wg = new(sync.WaitGroup)
		p.named[name] = wg
	}
	wg.Add(1)
	p.all.Go(func() {
		defer wg.Done()
		if err := run(); err != nil {
			select {
			case p.failed <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
	})
}

// fileWait is how long the end waits for a part, or a reload, that reads files.
const fileWait = time.Second

// read starts a part that reads files until ctx ends. Their file system may not
// answer: then the end goes on without it, and the process ends it.
func (p *parts) read(ctx context.Context, name string, run func() error) {
	p.start(name, func() error {
		ended := make(chan error, 1)
		go func() { ended <- run() }()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(fileWait):
			return nil
		}
	})
}

// wait returns when the parts of that name have ended, waitAll when all have.
func (p *parts) wait(name string) { p.named[name].Wait() }
func (p *parts) waitAll()         { p.all.Wait() }

func waitFor(done <-chan struct{}, most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}
