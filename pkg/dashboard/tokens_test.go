package dashboard

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/secret"
)

// tokenLine makes a token and its line in a token file.
func tokenLine(name string, role Role) (token secret.Text, line string) {
	token, sum := NewToken()
	return token, fmt.Sprintf("- {name: %s, role: %s, sha256: %s}\n", name, role, sum)
}

// writeTokens writes a token file as an editor does that renames a new one into place.
func writeTokens(t *testing.T, path string, mode os.FileMode, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path+".new", mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestTokenFileMistakes(t *testing.T) {
	t.Parallel()
	const good = "{name: anna, role: viewer, sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}\n"
	for name, tc := range map[string]struct {
		mode os.FileMode
		text string
		want string
	}{
		"others can read it":    {0o644, "tokens: []\n", "mode 0644): chmod 600"},
		"the group can write":   {0o660, "tokens: []\n", "mode 0660): chmod 600"},
		"empty":                 {0o600, "", "the file is empty"},
		"not YAML":              {0o600, "tokens: [\n", "not YAML"},
		"two documents":         {0o600, "tokens: []\n---\ntokens: []\n", ":2: use one document"},
		"another key":           {0o600, "tokens: []\nmore: 1\n", ":2: unknown key"},
		"no tokens":             {0o600, "{}\n", "tokens: is missing"},
		"no list":               {0o600, "tokens: 1\n", ":1: tokens: want a list"},
		"no mapping":            {0o600, "tokens:\n- confhaul_secret\n", ":2: tokens: want keys with values"},
		"a misspelt key":        {0o600, "tokens:\n- {name: a, rolle: viewer}\n", ":2: tokens: unknown key"},
		"a key twice":           {0o600, "tokens:\n- {name: a, name: b, role: viewer, sha256: x}\n", ":2: tokens.name: is already on line 2"},
		"a list for a name":     {0o600, "tokens:\n- {name: [a], role: viewer, sha256: x}\n", ":2: tokens.name: want one value"},
		"a name with a space":   {0o600, "tokens:\n- " + strings.Replace(good, "anna", "anna b", 1), ":2: tokens.name:"},
		"another role":          {0o600, "tokens:\n- " + strings.Replace(good, "viewer", "admin", 1), `:2: tokens.role: "admin": use viewer or operator`},
		"the token itself":      {0o600, "tokens:\n- {name: a, role: viewer, sha256: confhaul_secret}\n", ":2: tokens.sha256: want the 64"},
		"one name twice":        {0o600, "tokens:\n- " + good + "- " + strings.Replace(good, "aaaa", "bbbb", 1), `:3: tokens.name: "anna" is already on line 2`},
		"one token for several": {0o600, "tokens:\n- " + good + "- " + strings.Replace(good, "anna", "bert", 1), ":3: tokens.sha256: is already on line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "tokens.yaml")
			writeTokens(t, path, tc.mode, tc.text)
			_, err := OpenTokens(path)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), path) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the token stands in %v", err)
			}
		})
	}
	if _, err := OpenTokens("/nonexistent/tokens.yaml"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
	if _, err := OpenTokens(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

// TestTokensFollowTheFile has a bad file leave the old one in force, once told.
func TestTokensFollowTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	anna, annaLine := tokenLine("anna", RoleOperator)
	bert, bertLine := tokenLine("bert", RoleViewer)
	writeTokens(t, path, 0o600, "tokens:\n"+annaLine)
	tokens, err := OpenTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	want := func(step string, token secret.Text, name string) {
		t.Helper()
		if o, ok := tokens.find(sumOf(token)); o.name != name || ok != (name != "") {
			t.Errorf("%s: %q, want %q", step, o.name, name)
		}
	}
	reload := func(step string, wantChanged, wantErr bool) {
		t.Helper()
		if changed, err := tokens.reload(); changed != wantChanged || (err != nil) != wantErr {
			t.Errorf("%s: changed %v, error %v", step, changed, err)
		}
	}
	want("at start", anna, "anna")
	want("at start", bert, "")
	want("nothing", secret.Text{}, "")
	reload("the same file", false, false)
	writeTokens(t, path, 0o644, "tokens:\n"+bertLine)
	reload("world-readable", false, true)
	reload("told once", false, false)
	want("world-readable", anna, "anna")
	writeTokens(t, path, 0o600, "tokens:\n"+bertLine)
	reload("good again", true, false)
	want("good again", anna, "")
	want("good again", bert, "bert")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	reload("gone", false, true)
	want("gone", bert, "bert")
	if tokens.Len() != 1 {
		t.Errorf("%d tokens", tokens.Len())
	}
}
