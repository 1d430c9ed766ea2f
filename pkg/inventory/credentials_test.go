package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
)

const versionKey = "version_key: 0123456789abcdef\n"

func loadText(t *testing.T, text string) (*Credentials, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials.yaml")
	write(t, path, text)
	c, err := LoadCredentials(path)
	return c, path, err
}

func TestCredentialFromEverySource(t *testing.T) {
	t.Setenv("CONFHAUL_TEST_SECRET", "from env\n")
	c, path, err := loadText(t, versionKey+`
credentials:
  inline: {username: u, password: 12345, sensitive: hide}
  file: {username: u, password_file: pw}
  env: {username: u, password_env: CONFHAUL_TEST_SECRET, sensitive: show}
  command: {username: u, password_command: [printf, 'from %s\r\n', command]}
  key-file: {username: u, private_key_file: pw}
  key-env: {username: u, private_key_env: CONFHAUL_TEST_SECRET}
  key-command: {username: u, private_key_command: [echo, key]}
`)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(filepath.Dir(path), "pw"), "from file\n")
	versions := map[string]bool{}
	got := map[string]string{}
	for _, name := range c.Names() {
		cred, err := c.Credential(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = fmt.Sprintf("%s|%s|%s|%t", cred.Username, cred.Password.Reveal(), cred.PrivateKey.Reveal(), cred.Hide)
		versions[cred.Version] = true
		if cred.Name != name || !regexp.MustCompile(`^[0-9a-f]{8}\.[0-9a-f]{32}$`).MatchString(cred.Version) {
			t.Errorf("name %s, version %s", cred.Name, cred.Version)
		}
	}
	want := map[string]string{
		"inline": "u|12345||true", "file": "u|from file||false", "env": "u|from env||false", "command": "u|from command||false",
		"key-file": "u||from file|false", "key-env": "u||from env|false", "key-command": "u||key|false",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if len(versions) != len(want) {
		t.Errorf("%d versions of %d credentials", len(versions), len(want))
	}
}

func TestVersionTellsValuesUsersAndKeysApart(t *testing.T) {
	t.Parallel()
	version := func(text string) string {
		c, _, err := loadText(t, text)
		if err != nil {
			t.Fatal(err)
		}
		cred, err := c.Credential(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		return cred.Version
	}
	first := version(versionKey + "credentials: {c: {username: u, password: ab}}")
	if again := version(versionKey + "credentials: {c: {password: ab, username: u, sensitive: hide}}"); again != first {
		t.Error("the same values have two versions")
	}
	for _, other := range []string{
		versionKey + "credentials: {c: {username: u, password: ac}}",
		versionKey + "credentials: {c: {username: ua, password: b}}",
		"version_key: 0123456789abcdeX\ncredentials: {c: {username: u, password: ab}}",
	} {
		if version(other) == first {
			t.Errorf("the version does not change with %q", other)
		}
	}
}

// FILE stands for the path. No text of these may hold hunter2.
func TestLoadCredentialsRefuses(t *testing.T) {
	t.Parallel()
	const sources = "password, password_command, password_env, password_file, private_key_command, private_key_env, private_key_file"
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {"", "FILE: the file is empty"},
		"not a mapping":    {"hunter2\n", "FILE:1: want keys with values"},
		"no credentials":   {versionKey, "FILE: credentials: is missing"},
		"short key":        {"version_key: hunter2\ncredentials: {}\n", "FILE:1: version_key: is shorter than 16 characters: use for example RANDOM"},
		"no key":           {"credentials: {c: {username: u, password: hunter2}}\n", "FILE: version_key: is missing: add the line  version_key: RANDOM"},
		"unknown key":      {versionKey + "credentials:\n  c: {username: u, pasword: hunter2}\n", "FILE:3: credentials.c.pasword: unknown key: use username, sensitive, " + sources},
		"no colon's space": {versionKey + "credentials:\n  c: {username: u, password:hunter2}\n", "FILE:3: credentials.c: a key without a value: write a space after the colon"},
		"at the top":       {"{version_key:hunter2, credentials: {}}\n", "FILE:1: a key without a value: write a space after the colon"},
		"star":             {versionKey + "credentials:\n  c: {username: u, password: *hunter2}\n", "FILE: not YAML: unknown anchor: quote a value that begins with *"},
		"percent":          {versionKey + "credentials:\n  c: {username: u, password: %hunter2}\n", "FILE:3: not YAML: found character that cannot start any token"},
		"tag":              {versionKey + "credentials:\n  c: {username: u, password: !hunter2 }\n", "FILE:3: credentials.c.password: is empty"},
		"a list":           {versionKey + "credentials:\n  c: {username: u, password: [hunter2]}\n", "FILE:3: credentials.c.password: want one value"},
		"text":             {versionKey + "credentials:\n  c: hunter2\n", "FILE:3: credentials.c: want keys with values"},
		"no user":          {versionKey + "credentials:\n  c: {password: hunter2}\n", "FILE:3: credentials.c.username: is missing"},
		"odd user":         {versionKey + "credentials:\n  c: {username: \"a\\n\", password: hunter2}\n", `FILE:3: credentials.c.username: "a\n" holds a character that does not print`},
		"no secret":        {versionKey + "credentials:\n  c: {username: u}\n", "FILE:3: credentials.c: has no secret: give one of " + sources},
		"two secrets":      {versionKey + "credentials:\n  c: {username: u, password: hunter2, private_key_env: K}\n", "FILE:3: credentials.c: has password and private_key_env: give only one"},
		"no value":         {versionKey + "credentials:\n  c: {username: u, password: }\n", "FILE:3: credentials.c.password: is empty"},
		"odd name":         {versionKey + "credentials:\n  'a b': {username: u, password: hunter2}\n", `FILE:3: credentials: "a b" is not a credential name: use 1 to 128 of A-Z a-z 0-9 . _ : @ -`},
		"sensitive":        {versionKey + "credentials:\n  c: {username: u, password: hunter2, sensitive: yes}\n", `FILE:3: credentials.c.sensitive: "yes" is neither show nor hide`},
		"a line":           {versionKey + "credentials:\n  c: {username: u, password_command: pass hunter2}\n", "FILE:3: credentials.c.password_command: want a list of program and arguments, such as [pass, show, routers]"},
		"twice":            {versionKey + "credentials:\n  c: {username: u, password: hunter2}\n  c: {username: u, password: hunter2}\n", "FILE:4: credentials.c: is already on line 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, path, err := loadText(t, c.text)
			if err == nil {
				t.Fatal("no error")
			}
			got := regexp.MustCompile(`[A-Z2-7]{26}`).ReplaceAllString(err.Error(), "RANDOM")
			if want := strings.ReplaceAll(c.want, "FILE", path); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the secret: %s", err)
			}
		})
	}
}

func TestLoadCredentialsRefusesAFileThatOthersCanUse(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0o660, 0o604, 0o620} {
		_, path, err := loadText(t, versionKey+"credentials: {}\n")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err = LoadCredentials(path)
		if want := fmt.Sprintf("%s: others can use it (mode %04o): chmod 600 %s", path, mode, path); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestCredentialFailures(t *testing.T) {
	t.Parallel()
	c, path, err := loadText(t, versionKey+`
credentials:
  no-file: {username: u, password_file: none}
  a-dir: {username: u, password_file: .}
  no-env: {username: u, password_env: CONFHAUL_TEST_UNSET}
  empty: {username: u, password_command: ["true"]}
  fails: {username: u, password_command: [sh, -c, "echo hunter2; echo hunter2 >&2; exit 3"]}
  none: {username: u, password_command: [/nonexistent/program, hunter2]}
  floods: {username: u, password_command: [yes, hunter2]}
`)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for name, want := range map[string]string{
		"other":   `"other" is not in ` + path,
		"no-file": "no-file: password_file: open " + dir + "/none: no such file or directory",
		"a-dir":   "a-dir: password_file: read " + dir + ": not a regular file",
		"no-env":  "no-env: password_env: the environment has no CONFHAUL_TEST_UNSET",
		"empty":   "empty: password_command: the value is empty",
		"fails":   "fails: password_command: run sh: exit status 3",
		"none":    "none: password_command: run /nonexistent/program: fork/exec /nonexistent/program: no such file or directory",
		"floods":  "floods: password_command: run yes: it prints over 65536 bytes",
	} {
		_, err := c.Credential(t.Context(), name)
		want = strings.Replace(want, "open "+dir+"/none", "stat "+dir+"/none", 1)
		if err == nil || err.Error() != "fetch credential: "+want {
			t.Errorf("got  %v\nwant fetch credential: %s", err, want)
		}
		if fault.KindOf(err) != fault.Infrastructure {
			t.Errorf("kind of %v is %s", err, fault.KindOf(err))
		}
	}
}

// The command waits for a file that never comes to an end; the caller's own end and the deadline both stop it.
func TestCommandHasADeadline(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("the caller left"))
	defer cancel()
	_, err := fetchCommand(ctx, []string{"tail", "-f", "/dev/null"})
	if err == nil || err.Error() != "run tail: the caller left" {
		t.Errorf("error = %v", err)
	}
	if CommandTimeout != 10*time.Second || errCommandTimeout.Error() != "no answer within 10s" {
		t.Errorf("%v: %v", CommandTimeout, errCommandTimeout)
	}
}

func TestCredentialStoreFollowsTheFile(t *testing.T) {
	t.Parallel()
	_, path, err := loadText(t, versionKey+"credentials: {c: {username: u, password: first}}\n")
	if err != nil {
		t.Fatal(err)
	}
	store, err := NewCredentialStore(path)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(step, password string, wantChanged bool, wantErr string) {
		t.Helper()
		changed, err := store.Reload()
		if changed != wantChanged || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%s: changed %t, error %v", step, changed, err)
		}
		cred, err := store.Credential(t.Context(), "c")
		if err != nil || cred.Password.Reveal() != password {
			t.Errorf("%s: password %q, %v", step, cred.Password.Reveal(), err)
		}
	}
	expect("untouched", "first", false, "")
	write(t, path, versionKey+"credentials: {c: {username: u, password: the second}}\n")
	expect("changed", "the second", true, "")
	write(t, path, versionKey+"credentials: {c: {username: u, pasword: third}}\n")
	expect("typo", "the second", false, "unknown key")
	expect("typo, told already", "the second", false, "")
	write(t, path, versionKey+"credentials: {c: {username: u, password: the fourth one}}\n")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	expect("open to all", "the second", false, "chmod 600")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	expect("closed again", "the fourth one", true, "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("gone", "the fourth one", false, "no such file")
	expect("gone, told already", "the fourth one", false, "")
}

func FuzzCredentials(f *testing.F) {
	f.Add(versionKey + "credentials: {c: {username: u, password: p}}\n")
	f.Add("{version_key:x, credentials: &a {c: *a}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := &problems{file: "f"}
		c := &Credentials{path: "/d/f", byName: map[string]source{}}
		if root := document([]byte(text), p); root != nil {
			c.parse(root, p)
		}
		if p.err() == nil && len(c.versionKey.Reveal()) < VersionKeyMin {
			t.Error("let through without a version key")
		}
	})
}
