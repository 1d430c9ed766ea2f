package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestNoSecretPrints: what holds the credentials of a file gives none of them away, however somebody prints it.
func TestNoSecretPrints(t *testing.T) {
	t.Parallel()
	const value = "hunter2"
	_, path, err := loadText(t, "version_key: 0123456789-hunter2\ncredentials: {c: {username: u, password: hunter2}}\n")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewCredentialStore(path)
	if err != nil {
		t.Fatal(err)
	}
	held := []any{s, s.Current(), *s.Current(), s.Current().byName["c"], fetched(t, s, "c")}
	var texts []string
	for _, v := range held {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		j, jerr := json.Marshal(v)
		y, yerr := yaml.Marshal(v)
		if jerr != nil || yerr != nil {
			t.Fatal(jerr, yerr)
		}
		texts = append(texts, log.String(), string(j), string(y))
	}
	for _, text := range texts {
		if strings.Contains(text, value) || strings.Contains(text, fmt.Sprintf("%x", value)) {
			t.Errorf("the secret shows in %q", text)
		}
	}
}
