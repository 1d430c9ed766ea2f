package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/confhaul/confhaul/pkg/secret"
)

// TestNoSecretPrints: settings give no password of an address away, however somebody prints them.
func TestNoSecretPrints(t *testing.T) {
	t.Parallel()
	s := Default()
	n := 0
	for _, f := range fields(&s) {
		if u, ok := f.value.(*secret.URL); ok {
			*u = secret.NewURL("redis://user:hunter2@127.0.0.1:6379/0")
			n++
		}
	}
	if n < 3 {
		t.Fatalf("only %d addresses among the settings", n)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "settings", s, "address", s.Redis)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "settings", s, "address", s.Redis)
	j, jerr := json.Marshal(s)
	y, yerr := yaml.Marshal(s)
	if jerr != nil || yerr != nil {
		t.Fatal(jerr, yerr)
	}
	texts := []string{log.String(), string(j), string(y), fmt.Errorf("settings %v", s).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		texts = append(texts, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s))
	}
	for _, text := range texts {
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("the password shows in %q", text)
		}
	}
}
