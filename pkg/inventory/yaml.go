package inventory

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/confhaul/confhaul/pkg/device"
)

// What may stand in the parts of a YAML inventory, apart from devices, which take every column.
var (
	defaultColumns = []column{colPort, colSite, colTenant, colPlatform, colCredential, colInterval, colProof, colLargeExport, colJump}
	siteColumns    = []column{colPort, colTenant, colCredential, colInterval, colProof, colLargeExport, colJump}
	deviceColumns  = []column{colID, colName, colAddress, colPort, colSite, colTenant, colPlatform, colCredential, colEnabled, colInterval, colProof, colLargeExport, colJump}
)

func parseYAML(b []byte, p *problems) []entry {
	root := document(b, p)
	if root == nil {
		return nil
	}
	top := &[columns]cell{}
	sites := map[string]*[columns]cell{}
	var devices *yaml.Node
	eachPair(root, "", []string{"defaults", "sites", "devices"}, p, func(key, value *yaml.Node) {
		switch key.Value {
		case "defaults":
			parseCells(value, "defaults.", defaultColumns, top, p)
		case "sites":
			eachPair(value, "sites.", nil, p, func(name, value *yaml.Node) {
				if err := device.CheckSite(name.Value); err != nil {
					p.add(name.Line, "sites", "%w", err)
				}
				sites[name.Value] = &[columns]cell{}
				parseCells(value, "sites."+name.Value+".", siteColumns, sites[name.Value], p)
			})
		case "devices":
			devices = value
		}
	})
	if devices == nil {
		if root.Kind == yaml.MappingNode {
			p.add(0, "devices", "is missing")
		}
		return nil
	}
	if devices.Kind != yaml.SequenceNode {
		p.add(devices.Line, "devices", "want a list of devices, or [] for none")
		return nil
	}
	entries := make([]entry, len(devices.Content))
	for i, n := range devices.Content {
		e := &entries[i]
		e.line, e.top = n.Line, top
		before := p.count()
		parseCells(n, "", deviceColumns, &e.cells, p)
		e.broken = p.count() > before
		site := e.get(colSite).text
		if site == "" {
			site = device.DefaultSite
		}
		e.site = sites[site]
	}
	return entries
}

// document returns the root of the one YAML document in b, or nil after it told why not.
func document(b []byte, p *problems) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, next yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		p.add(0, "", "the file is empty")
		return nil
	}
	if err != nil {
		line, text := syntaxError(err)
		p.add(line, "", "not YAML: %s", text)
		return nil
	}
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		p.add(next.Line, "", "use one document only, without a second ---")
		return nil
	}
	return doc.Content[0]
}

var (
	syntaxShape  = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	unknownAlias = regexp.MustCompile(`unknown anchor '.*' referenced`)
)

// syntaxError takes the line out of the text, and the name of an unknown anchor too: it may be a password that begins
// with a star.
func syntaxError(err error) (line int, text string) {
	text = strings.ReplaceAll(err.Error(), "\n", " ")
	if m := syntaxShape.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	return line, unknownAlias.ReplaceAllString(text, "unknown anchor: quote a value that begins with *")
}

// eachPair calls visit for each key of a mapping, once per key, and tells of keys that are not known; nil knows all.
func eachPair(n *yaml.Node, prefix string, known []string, p *problems, visit func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.add(n.Line, strings.TrimSuffix(prefix, "."), "want keys with values")
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		first, twice := seen[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.add(key.Line, strings.TrimSuffix(prefix, "."), "want a plain word for a key")
		case known != nil && !slices.Contains(known, key.Value):
			p.add(key.Line, prefix+key.Value, "unknown key: use %s", strings.Join(known, ", "))
		case twice:
			p.add(key.Line, prefix+key.Value, "is already on line %d", first)
		default:
			seen[key.Value] = key.Line
			visit(key, value)
		}
	}
}

// scalar is the text of a value; no value and "" are the same. It tells of lists and mappings.
func scalar(n *yaml.Node, field string, p *problems) (string, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		p.add(n.Line, field, "want one value")
		return "", false
	}
	if n.Tag == "!!null" {
		return "", true
	}
	return n.Value, true
}

// parseCells reads a mapping into the cells of the columns that it may hold. With a prefix the cells are checked here.
func parseCells(n *yaml.Node, prefix string, may []column, to *[columns]cell, p *problems) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && prefix != "" {
		return // a heading with nothing below it yet
	}
	names := make([]string, len(may))
	for i, c := range may {
		names[i] = columnNames[c]
	}
	eachPair(n, prefix, names, p, func(key, value *yaml.Node) {
		text, ok := scalar(value, prefix+key.Value, p)
		if !ok || text == "" {
			return
		}
		for _, c := range may {
			if columnNames[c] != key.Value {
				continue
			}
			to[c] = cell{text: text, line: value.Line}
			if prefix == "" {
				continue
			}
			if wrong := check(c, text); wrong != "" {
				p.add(value.Line, prefix+key.Value, "%s", wrong)
			}
		}
	})
}
