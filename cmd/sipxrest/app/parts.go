package app

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// parts are the features of a running App, each joined before Run returns.
type parts struct {
	failed chan error // the first error
	ends   []func()   // of those started, in their order

	late     chan struct{} // closed fileWait after the first part that reads was to end
	lateOnce sync.Once
}

func newParts() *parts {
	return &parts{failed: make(chan error, 1), late: make(chan struct{})}
}

// start runs a feature. An error that it returns is reported on failed.
func (p *parts) start(f feature) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	run := f.run
	if f.reads {
		run = p.reading(f.run)
	}
	go func() {
		defer close(ended)
		if run == nil {
			return
		}
		if err := run(ctx); err != nil {
			select {
			case p.failed <- fmt.Errorf("%s: %w", f.name, err):
			default:
			}
		}
	}()
	p.ends = append(p.ends, func() {
		if f.stop != nil {
			f.stop()
		}
		cancel()
		<-ended
	})
}

// end ends them all, the last one first.
func (p *parts) end() {
	for _, end := range slices.Backward(p.ends) {
		end()
	}
}

// fileWait is how long the end waits for parts, or a reload, that read files.
const fileWait = time.Second

// reading runs a part that reads files until ctx ends. Their file system may not
// answer: then the end goes on without it, and the process ends it.
func (p *parts) reading(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ended := make(chan error, 1)
		go func() { ended <- run(ctx) }()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
		}
		p.lateOnce.Do(func() { time.AfterFunc(fileWait, func() { close(p.late) }) })
		select {
		case err := <-ended:
			return err
		case <-p.late:
			return nil
		}
	}
}

func waitFor(done <-chan struct{}, most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}
