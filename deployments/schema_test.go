package deployments

import (
	"fmt"
	"slices"
	"testing"
)

// schema is as much of a custom resource's definition as says which fields there are and what they hold.
type schema struct {
	Type       string            `json:"type"`
	Properties map[string]schema `json:"properties"`
	Additional *schema           `json:"additionalProperties"`
	Items      *schema           `json:"items"`
	Required   []string          `json:"required"`
	Enum       []any             `json:"enum"`
	Open       bool              `json:"x-kubernetes-preserve-unknown-fields"`
	IntOrText  bool              `json:"x-kubernetes-int-or-string"`
}

// check lists what the definition refuses.
func (s schema) check(path string, v any) (out []string) {
	switch v := v.(type) {
	case map[string]any:
		if s.Type != "object" {
			return []string{path + ": is an object, and not " + s.Type}
		}
		for _, name := range s.Required {
			if _, there := v[name]; !there {
				out = append(out, path+"."+name+": is missing")
			}
		}
		for name, value := range v {
			below, known := s.Properties[name]
			switch {
			case known:
				out = append(out, below.check(path+"."+name, value)...)
			case s.Additional != nil:
				out = append(out, s.Additional.check(path+"."+name, value)...)
			case !s.Open:
				out = append(out, path+"."+name+": is unknown")
			}
		}
	case []any:
		if s.Type != "array" {
			return []string{path + ": is a list, and not " + s.Type}
		}
		for i, value := range v {
			out = append(out, s.Items.check(fmt.Sprintf("%s[%d]", path, i), value)...)
		}
	default:
		out = s.checkScalar(path, v)
	}
	return out
}

func (s schema) checkScalar(path string, v any) []string {
	fits := false
	switch n := v.(type) {
	case string:
		fits = s.Type == "string" || s.IntOrText
	case bool:
		fits = s.Type == "boolean"
	case float64:
		fits = s.Type == "number" || (s.Type == "integer" || s.IntOrText) && n == float64(int64(n))
	}
	switch {
	case !fits:
		return []string{fmt.Sprintf("%s: %v is no %s", path, v, s.Type)}
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, v):
		return []string{fmt.Sprintf("%s: %v is none of %v", path, v, s.Enum)}
	}
	return nil
}

func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	text := schema{Type: "string", Enum: []any{"a"}}
	s := schema{Type: "object", Required: []string{"name"}, Properties: map[string]schema{
		"name": text, "count": {Type: "integer"}, "list": {Type: "array", Items: &text}, "any": {Type: "object", Additional: &text},
	}}
	if problems := s.check("it", map[string]any{"name": "a", "count": 3.0, "list": []any{"a"}, "any": map[string]any{"x": "a"}}); len(problems) > 0 {
		t.Error(problems)
	}
	for _, bad := range []map[string]any{
		{}, {"name": "b"}, {"name": 1.0}, {"name": "a", "other": "a"}, {"name": "a", "count": 1.5}, {"name": "a", "list": "a"},
		{"name": "a", "list": []any{true}}, {"name": "a", "any": map[string]any{"x": map[string]any{}}}, {"name": []any{}},
	} {
		if problems := s.check("it", bad); len(problems) != 1 {
			t.Errorf("%v: %v", bad, problems)
		}
	}
}
