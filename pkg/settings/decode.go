package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/confhaul/confhaul/pkg/fault"
)

// decoder writes one YAML document into the settings and remembers what is wrong.
type decoder struct {
	file   string
	fields []field
	from   origins
	errs   []error
}

func decode(s *Settings, file string, b []byte, from origins) error {
	root, err := parse(file, b)
	if err != nil {
		return err
	}
	d := &decoder{file: file, fields: fields(s), from: from}
	d.mapping("", root)
	return errors.Join(d.errs...)
}

func parse(file string, b []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, next yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, &fault.InputError{File: file, Err: errors.New("the file is empty")}
	}
	if err != nil {
		return nil, syntaxError(file, err)
	}
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, &fault.InputError{File: file, Line: next.Line, Err: errors.New("use one document only, without a second ---")}
	}
	return doc.Content[0], nil
}

var (
	syntaxShape  = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	unknownAlias = regexp.MustCompile(`unknown anchor '.*' referenced`)
)

// syntaxError takes the line out of the text, and the name of an unknown anchor too: it may be a password that begins
// with a star.
func syntaxError(file string, err error) error {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	e := &fault.InputError{File: file}
	if m := syntaxShape.FindStringSubmatch(text); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	text = unknownAlias.ReplaceAllString(text, "unknown anchor: quote a value that begins with *")
	e.Err = fmt.Errorf("not YAML: %s", text)
	return e
}

func (d *decoder) fail(line int, field, format string, args ...any) {
	d.errs = append(d.errs, &fault.InputError{File: d.file, Line: line, Field: field, Err: fmt.Errorf(format, args...)})
}

func (d *decoder) mapping(prefix string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, strings.TrimSuffix(prefix, "."), "want keys with values")
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := prefix + key.Value
		if first, twice := lines[path]; twice {
			d.fail(key.Line, path, "is already on line %d", first)
			continue
		}
		lines[path] = key.Line
		d.value(prefix, path, key, value)
	}
}

func (d *decoder) value(prefix, path string, key, value *yaml.Node) {
	plain := key.Kind == yaml.ScalarNode && !strings.Contains(key.Value, ".") // else timeouts.dial would have two spellings
	for _, f := range d.fields {
		if plain && f.path == path {
			d.leaf(f, value)
			return
		}
		if plain && strings.HasPrefix(f.path, path+".") {
			d.mapping(path+".", value)
			return
		}
	}
	d.fail(key.Line, path, "unknown key: use %s", strings.Join(d.known(prefix), ", "))
}

// known lists the keys that may stand below prefix.
func (d *decoder) known(prefix string) []string {
	var keys []string
	for _, f := range d.fields {
		rest, below := strings.CutPrefix(f.path, prefix)
		key, _, _ := strings.Cut(rest, ".")
		if below && (len(keys) == 0 || keys[len(keys)-1] != key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (d *decoder) leaf(f field, n *yaml.Node) {
	text, err := scalar(n)
	if _, list := f.value.(*[]time.Duration); list {
		text, err = sequence(n)
	}
	if err == nil {
		err = f.set(text)
	}
	if err != nil {
		d.fail(n.Line, f.path, "%w", err)
		return
	}
	d.from[f.path] = fault.InputError{File: d.file, Line: n.Line, Field: f.path}
}

func scalar(n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", errors.New("want one value")
	case n.Tag == "!!null":
		return "", errors.New("has no value: give one, or leave the key out")
	}
	return n.Value, nil
}

func sequence(n *yaml.Node) (string, error) {
	if n.Kind != yaml.SequenceNode {
		return "", errors.New("want a list such as [5m, 15m, 1h]")
	}
	if len(n.Content) == 0 {
		return "", errors.New("is empty: give at least one value")
	}
	texts := make([]string, len(n.Content))
	for i, item := range n.Content {
		var err error
		if texts[i], err = scalar(item); err != nil {
			return "", err
		}
	}
	return strings.Join(texts, ","), nil
}
