package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestNothingPrints(t *testing.T) {
	t.Parallel()
	const value = "hunter2"
	c := Credential{Name: "fleet", Username: "u", Password: New(value), PrivateKey: New(value)}
	address := NewURL("redis://user:" + value + "@127.0.0.1:6379/0?password=" + value)
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "credential", c, "pointer", &c, "address", address, "text", c.Password)
	}
	inside := struct { // fmt asks no method of a field that is not exported
		text    Text
		address URL
		all     []Credential
		one     *Credential
		byName  map[string]Credential
	}{New(value), address, []Credential{c}, &c, map[string]Credential{"c": c}}
	texts := []string{log.String(), fmt.Errorf("wrap %v %w", c, fmt.Errorf("%v", address)).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, c), fmt.Sprintf(verb, &c), fmt.Sprintf(verb, c.Password), fmt.Sprintf(verb, address), fmt.Sprintf(verb, &address), fmt.Sprintf(verb, inside), fmt.Sprintf(verb, &inside))
	}
	for _, v := range []any{c, &c, address, map[string]any{"a": address, "p": c.Password}} {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		y, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(j), string(y))
	}
	for _, s := range texts {
		if strings.Contains(s, value) || strings.Contains(s, fmt.Sprintf("%x", value)) {
			t.Errorf("the secret shows in %q", s)
		}
	}
	if c.Password.Reveal() != value || !strings.Contains(address.Reveal(), value) {
		t.Error("Reveal does not give the value")
	}
	if got := address.String(); got != "redis://127.0.0.1:6379/0" {
		t.Errorf("address prints as %s", got)
	}
	for value, want := range map[string]string{
		"nats://token@h:4222":                "nats://h:4222",
		"nats://u:pw@a:1,nats://u:pw@b:2":    "nats://a:1,nats://b:2",
		"nats://a:1, nats://u:p,w@b:2":       "nats://a:1,<redacted>,<redacted>",
		"u:pw@host":                          "<redacted>",
		"redis://u:p%zz@h":                   "<redacted>",
		"unix:///run/redis.sock?password=pw": "unix:///run/redis.sock",
		"":                                   "",
	} {
		if got := NewURL(value).String(); got != want {
			t.Errorf("%s prints as %s, want %s", value, got, want)
		}
	}
}
