package settings

import (
	"os"
	"reflect"
	"testing"

	"go.yaml.in/yaml/v3"
)

const exampleFile = "../../deployments/confhaul.yaml"

// TestExampleFileHasEverySetting holds the annotated file to the code: each setting once, in the order of the struct, with its
// default and a comment.
func TestExampleFileHasEverySetting(t *testing.T) {
	t.Parallel()
	if _, err := Load(exampleFile, environment()); err != nil {
		t.Fatalf("%s does not load: %v", exampleFile, err)
	}
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var got Settings // and not the defaults: what the file leaves out must show
	lines := origins{}
	if err := decode(&got, exampleFile, text, lines); err != nil {
		t.Fatal(err)
	}
	defaults := Default()
	want, last := fields(&defaults), 0
	for i, f := range fields(&got) {
		at, there := lines[f.path]
		switch {
		case !there:
			t.Errorf("%s lacks %s: add it where the struct has it, with its default and a comment that tells meaning, unit and range", exampleFile, f.path)
		case at.Line < last:
			t.Errorf("%s:%d: %s stands below settings that come after it in the struct: move it", exampleFile, at.Line, f.path)
		case !reflect.DeepEqual(f.value, want[i].value):
			t.Errorf("%s:%d: %s is not the default: write the one that Default has", exampleFile, at.Line, f.path)
		}
		last = max(last, at.Line)
	}
	for path, line := range uncommented(t, text) {
		t.Errorf("%s:%d: %s has no comment: say what it means, its unit and range", exampleFile, line, path)
	}
}

// uncommented lists the settings that have no comment of their own, with their lines.
func uncommented(t *testing.T, text []byte) map[string]int {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	bare := map[string]int{}
	var walk func(prefix string, n *yaml.Node)
	walk = func(prefix string, n *yaml.Node) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			switch {
			case value.Kind == yaml.MappingNode:
				walk(prefix+key.Value+".", value)
			case key.HeadComment == "":
				bare[prefix+key.Value] = key.Line
			}
		}
	}
	walk("", doc.Content[0])
	return bare
}
