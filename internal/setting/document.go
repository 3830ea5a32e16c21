// Package setting reads what operators write in YAML: configuration, users and
// rules. It turns the reader's words into some that say what to do.
package setting

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Document reads a YAML document and returns the value that it holds, nil for
// nothing but comments. An error never quotes a value, which may be a secret.
func Document(data []byte) (*yaml.Node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	switch err := loader.Load(&doc); {
	case err == io.EOF:
		return nil, nil
	case err != nil:
		err = withoutAnchors(err)
		switch {
		case bytes.Contains(data, []byte("\n\t")):
			err = fmt.Errorf("%w: indent with spaces, YAML takes no tabs", err)
		case strings.Contains(err.Error(), "did not find expected key"):
			err = fmt.Errorf("%w: what is indented belongs to a section: is the section's own line, above it, behind a #?", err)
		}
		return nil, err
	}
	if err := loader.Load(new(yaml.Node)); err != io.EOF {
		return nil, errors.New("more than one document: keep one, without a line --- or ... after the first")
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	root := doc.Content[0]
	if err := bounded(root); err != nil {
		return nil, err
	}
	return root, nil
}

// withoutAnchors takes out what the YAML reader quotes of the text: a secret that
// begins with * and is not in quotes is the name of an anchor to it.
func withoutAnchors(err error) error {
	text := err.Error()
	if from, to := strings.IndexByte(text, '\''), strings.LastIndexByte(text, '\''); strings.Contains(text, "anchor '") && from < to {
		return errors.New(text[:from] + "'…'" + text[to+1:] + ": put a text that begins with * in quotes")
	}
	return err
}

// Follow returns the value that an alias (*name) stands for.
func Follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// maxAliased bounds how many values more than it has a document stands for by
// its aliases: an alias of aliases is short to write, and long to read.
const maxAliased = 100_000

func bounded(root *yaml.Node) error {
	written := 0
	sizes := map[*yaml.Node]int{} // of what has been counted; 0 while it is
	var size func(n *yaml.Node) int
	size = func(n *yaml.Node) int {
		if n.Kind == yaml.AliasNode {
			return sizes[n.Alias] // 0 within itself: nothing that reads it goes so deep
		}
		written++
		all := 1
		for _, c := range n.Content {
			all = min(all+size(c), 1<<40)
		}
		if n.Anchor != "" {
			sizes[n] = all
		}
		return all
	}
	if size(root) > written+maxAliased {
		return fmt.Errorf("its aliases (*name) stand for more than %d values: write out what they stand for", maxAliased)
	}
	return nil
}
