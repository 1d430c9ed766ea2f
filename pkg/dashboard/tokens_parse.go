package dashboard

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/confhaul/confhaul/pkg/fault"
)

var nameShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// CheckName says whether somebody's name can stand in a token file.
func CheckName(name string) error {
	if !nameShape.MatchString(name) {
		return fmt.Errorf("%q: use 1 to 64 of A-Z a-z 0-9 . _ @ -, and begin with a letter or digit", name)
	}
	return nil
}

// CheckRole says whether there is such a role.
func CheckRole(r Role) error {
	if r != RoleViewer && r != RoleOperator {
		return fmt.Errorf("%q: use %s or %s", r, RoleViewer, RoleOperator)
	}
	return nil
}

// tokenParser reads one token file and remembers what is wrong with it. Its texts hold no value but names and roles: where
// the digest belongs, somebody may have written the token.
type tokenParser struct {
	file   string
	errs   []error
	owners []owner
	names  map[string]int // lines
	sums   map[digest]int // lines
}

func parseTokens(file string, b []byte) ([]owner, error) {
	p := &tokenParser{file: file, owners: []owner{}, names: map[string]int{}, sums: map[digest]int{}}
	if root := p.document(b); root != nil {
		p.tokens(root)
	}
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return p.owners, nil
}

func (p *tokenParser) fail(line int, field, format string, args ...any) {
	p.errs = append(p.errs, &fault.InputError{File: p.file, Line: line, Field: field, Err: fmt.Errorf(format, args...)})
}

func (p *tokenParser) document(b []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, next yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		p.fail(0, "", "the file is empty: write tokens: with a line for each token below it")
		return nil
	}
	if err != nil {
		p.fail(0, "", "not YAML: %s", strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "yaml: "))
		return nil
	}
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		p.fail(next.Line, "", "use one document only, without a second ---")
		return nil
	}
	return doc.Content[0]
}

func (p *tokenParser) tokens(root *yaml.Node) {
	values, ok := p.mapping(root, "", "tokens")
	if !ok {
		return
	}
	list := values["tokens"]
	if list.Kind != yaml.SequenceNode {
		p.fail(list.Line, "tokens", "want a list of {name, role, sha256}, or [] for none")
		return
	}
	if len(list.Content) > tokensMax {
		p.fail(list.Line, "tokens", "%d of them: use at most %d", len(list.Content), tokensMax)
		return
	}
	for _, n := range list.Content {
		p.token(n)
	}
}

// mapping gives the values of a mapping that has all of the keys and no other.
func (p *tokenParser) mapping(n *yaml.Node, prefix string, keys ...string) (map[string]*yaml.Node, bool) {
	if n.Kind != yaml.MappingNode {
		p.fail(n.Line, strings.TrimSuffix(prefix, "."), "want keys with values: %s", strings.Join(keys, ", "))
		return nil, false
	}
	before, values := len(p.errs), map[string]*yaml.Node{}
	for _, key := range keys {
		values[key] = nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		first, known := values[key.Value]
		switch {
		case !known || key.Kind != yaml.ScalarNode:
			p.fail(key.Line, strings.TrimSuffix(prefix, "."), "unknown key: use %s", strings.Join(keys, ", "))
		case first != nil:
			p.fail(key.Line, prefix+key.Value, "is already on line %d", first.Line)
		default:
			values[key.Value] = value
		}
	}
	for _, key := range keys {
		if values[key] == nil {
			p.fail(n.Line, prefix+key, "is missing")
		}
	}
	return values, len(p.errs) == before
}

func (p *tokenParser) token(n *yaml.Node) {
	const prefix = "tokens."
	values, ok := p.mapping(n, prefix, "name", "role", "sha256")
	if !ok {
		return
	}
	for key, value := range values {
		if value.Kind != yaml.ScalarNode {
			p.fail(value.Line, prefix+key, "want one value")
			ok = false
		}
	}
	if !ok {
		return
	}
	name, role, sum := values["name"], values["role"], values["sha256"]
	before, o := len(p.errs), owner{name: name.Value, role: Role(role.Value)}
	if err := CheckName(o.name); err != nil {
		p.fail(name.Line, prefix+"name", "%w", err)
	} else if first, twice := p.names[o.name]; twice {
		p.fail(name.Line, prefix+"name", "%q is already on line %d", o.name, first)
	}
	if err := CheckRole(o.role); err != nil {
		p.fail(role.Line, prefix+"role", "%w", err)
	}
	if b, err := hex.DecodeString(sum.Value); err != nil || len(b) != len(o.digest) {
		p.fail(sum.Line, prefix+"sha256", "want the 64 hexadecimal digits that confhaul dashboard token prints, not the token itself")
	} else if first, twice := p.sums[digest(b)]; twice {
		p.fail(sum.Line, prefix+"sha256", "is already on line %d: give everybody a token of their own", first)
	} else {
		o.digest = digest(b)
	}
	if len(p.errs) == before {
		p.names[o.name], p.sums[o.digest] = name.Line, sum.Line
		p.owners = append(p.owners, o)
	}
}
