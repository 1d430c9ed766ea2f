package inventory

import (
	"crypto/rand"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Limits of a credentials file.
const (
	CredentialsMax = 1 << 20 // bytes
	VersionKeyMin  = 16      // characters
)

// Credentials is a credentials file that was read and found good. It holds where the values come from; they are fetched when
// a credential is asked for.
type Credentials struct {
	path       string
	versionKey secret.Text
	byName     map[string]source
}

// source is one credential of the file.
type source struct {
	username string
	hide     bool
	key      bool // a private key, not a password
	way      way
	inline   secret.Text
	from     string   // path or environment variable
	argv     []string // command
}

// way is how a value is fetched.
type way string

const (
	wayInline  way = ""
	wayFile    way = "_file"
	wayEnv     way = "_env"
	wayCommand way = "_command"
)

// field is the key under which the value's source stands.
func (s source) field() string {
	if s.key {
		return "private_key" + string(s.way)
	}
	return "password" + string(s.way)
}

// sourceKeys is every way to give a value.
var sourceKeys = map[string]source{
	"password": {}, "password_file": {way: wayFile}, "password_env": {way: wayEnv}, "password_command": {way: wayCommand},
	"private_key_file": {key: true, way: wayFile}, "private_key_env": {key: true, way: wayEnv}, "private_key_command": {key: true, way: wayCommand},
}

// LoadCredentials reads the credentials file at path and refuses one that others can use. Its errors hold no value.
func LoadCredentials(path string) (*Credentials, error) {
	raw, err := read(path, "read credentials", CredentialsMax)
	if err != nil {
		return nil, err
	}
	if err := secret.CheckPrivate(path, raw.info); err != nil {
		return nil, &fault.InputError{File: path, Err: err}
	}
	c := &Credentials{path: path, byName: map[string]source{}}
	p := &problems{file: path}
	if root := document(raw.bytes, p); root != nil {
		c.parse(root, p)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// files lists the files that the values come from.
func (c *Credentials) files() []string {
	var out []string
	for _, s := range c.byName {
		if s.way == wayFile {
			out = append(out, s.from)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Names lists the credentials, sorted.
func (c *Credentials) Names() []string { return slices.Sorted(maps.Keys(c.byName)) }

func (c *Credentials) parse(root *yaml.Node, p *problems) {
	if root.Kind != yaml.MappingNode {
		p.add(root.Line, "", "want keys with values")
		return
	}
	known := []string{"version_key", "credentials"}
	if valueless(root, "", known, p) {
		return
	}
	keyed, list := false, false
	eachPair(root, "", known, p, func(key, value *yaml.Node) {
		if key.Value == "version_key" {
			keyed = true
			c.parseVersionKey(value, p)
			return
		}
		list = true
		eachPair(value, "credentials.", nil, p, func(name, value *yaml.Node) { c.parseCredential(name, value, p) })
	})
	if !keyed {
		p.add(0, "version_key", "is missing: add the line  version_key: %s", rand.Text())
	}
	if !list {
		p.add(0, "credentials", "is missing")
	}
}

func (c *Credentials) parseVersionKey(n *yaml.Node, p *problems) {
	text, ok := scalar(n, "version_key", p)
	if ok && len(text) < VersionKeyMin {
		p.add(n.Line, "version_key", "is shorter than %d characters: use for example %s", VersionKeyMin, rand.Text())
	}
	c.versionKey = secret.New(text)
}

func (c *Credentials) parseCredential(name, n *yaml.Node, p *problems) {
	prefix := "credentials." + name.Value + "."
	if wrong := check(colCredential, name.Value); wrong != "" {
		p.add(name.Line, "credentials", "%s", wrong)
		return
	}
	known := append([]string{"username", "sensitive"}, slices.Sorted(maps.Keys(sourceKeys))...)
	if valueless(n, strings.TrimSuffix(prefix, "."), known, p) {
		return
	}
	before := p.count()
	var s source
	var given []string
	eachPair(n, prefix, known, p, func(key, value *yaml.Node) {
		switch key.Value {
		case "username":
			s.username, _ = scalar(value, prefix+"username", p)
			if wrong := checkName(s.username); wrong != "" {
				p.add(value.Line, prefix+"username", "%s", wrong)
			}
		case "sensitive":
			s.hide = parseSensitive(value, prefix+"sensitive", p)
		default:
			given = append(given, key.Value)
			shape := sourceKeys[key.Value]
			s.key, s.way = shape.key, shape.way
			c.parseSource(&s, value, prefix+key.Value, p)
		}
	})
	if p.count() > before {
		return
	}
	field := strings.TrimSuffix(prefix, ".")
	if s.username == "" {
		p.add(name.Line, field+".username", "is missing")
	}
	switch len(given) {
	case 0:
		p.add(name.Line, field, "has no secret: give one of %s", strings.Join(known[2:], ", "))
	case 1:
		c.byName[name.Value] = s
	default:
		p.add(name.Line, field, "has %s: give only one", strings.Join(given, " and "))
	}
}

// valueless tells of unknown keys without a value, and never repeats them: {password:hunter2} is such a key.
func valueless(n *yaml.Node, field string, known []string, p *problems) bool {
	if n.Kind != yaml.MappingNode {
		return false
	}
	found := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.ScalarNode && value.Tag == "!!null" && !slices.Contains(known, key.Value) {
			p.add(key.Line, field, "a key without a value: write a space after the colon")
			found = true
		}
	}
	return found
}

func parseSensitive(n *yaml.Node, field string, p *problems) (hide bool) {
	text, ok := scalar(n, field, p)
	if ok && text != "" && text != "show" && text != "hide" {
		p.add(n.Line, field, "%q is neither show nor hide", text)
	}
	return text == "hide"
}

func (c *Credentials) parseSource(s *source, n *yaml.Node, field string, p *problems) {
	if s.way == wayCommand {
		s.argv = parseArgv(n, field, p)
		return
	}
	text, ok := scalar(n, field, p)
	if !ok {
		return
	}
	if text == "" {
		p.add(n.Line, field, "is empty")
		return
	}
	switch s.way {
	case wayInline:
		s.inline = secret.New(text)
	case wayFile:
		s.from = text
		if !filepath.IsAbs(text) {
			s.from = filepath.Join(filepath.Dir(c.path), text)
		}
	case wayEnv:
		s.from = text
	}
}

func parseArgv(n *yaml.Node, field string, p *problems) []string {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		p.add(n.Line, field, "want a list of program and arguments, such as [pass, show, routers]")
		return nil
	}
	argv := make([]string, len(n.Content))
	for i, item := range n.Content {
		argv[i], _ = scalar(item, field, p)
	}
	if argv[0] == "" {
		p.add(n.Line, field, "names no program")
	}
	return argv
}
