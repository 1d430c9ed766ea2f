package cli

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/fault"
)

// docFiles are the pages whose commands somebody will type.
func docFiles(t *testing.T) []string {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	files := []string{filepath.Join(root, "README.md")}
	for _, pattern := range []string{"deployments/docs/*.md", "deployments/*/README.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 3 {
		t.Fatalf("only %v: the pages have moved", files)
	}
	return files
}

// docCommand is one command line of ours in a page: the words after the program's name.
type docCommand struct {
	line   int
	args   []string
	inText bool // not a line to type as it is: its arguments may be left out
}

// docCommands finds the command lines of confhaul in the blocks marked sh of a page, and those that stand in its text as
// `confhaul COMMAND ...`.
func docCommands(page string) []docCommand {
	var out []docCommand
	block, before := "", ""
	for i, line := range strings.Split(page, "\n") {
		if fence, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
			if block != "" {
				block = ""
			} else {
				block = "[" + fence + "]"
			}
			continue
		}
		switch block {
		case "[sh]":
			line = before + line
			if head, more := strings.CutSuffix(line, `\`); more {
				before = head
				continue
			}
			before = ""
			for _, words := range simpleCommands(line) {
				if args, ours := ourArgs(words); ours {
					out = append(out, docCommand{i + 1, args, false})
				}
			}
		case "":
			for _, span := range inlineCommand.FindAllStringSubmatch(line, -1) {
				for _, words := range simpleCommands(span[1]) {
					if args, ours := ourArgs(words); ours {
						out = append(out, docCommand{i + 1, args, true})
					}
				}
			}
		}
	}
	return out
}

var inlineCommand = regexp.MustCompile("`((?:\\./)?confhaul [^`]+)`")

// simpleCommands splits a line as a shell does, as far as pages need it: quotes, comments, and what ends a command.
func simpleCommands(line string) [][]string {
	var (
		all   [][]string
		words []string
		word  strings.Builder
		open  bool // a word has begun
		quote rune
	)
	endWord := func() {
		if open {
			words = append(words, word.String())
		}
		word.Reset()
		open = false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			all = append(all, words)
		}
		words = nil
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == '#' && !open:
			endCommand()
			return all
		case r == ' ' || r == '\t':
			endWord()
		case strings.ContainsRune("|;&()<>", r):
			endCommand()
		default:
			word.WriteRune(r)
			open = true
		}
	}
	endCommand()
	return all
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// ourArgs is what a command line gives to confhaul, where it runs it, be it through another program.
func ourArgs(words []string) (args []string, ours bool) {
	for len(words) > 0 && assignment.MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, false
	}
	isOurs := func(word string) bool { return path.Base(word) == "confhaul" }
	last := -1
	for i, word := range words {
		switch words[0] {
		case "sudo", "docker", "podman", "watch", "timeout", "env", "as": // as is the README's own
			if isOurs(word) {
				last = i
			}
		case "kubectl":
			if i > 0 && words[i-1] == "--" && isOurs(word) {
				last = i
			}
		case "go":
			if i == 2 && words[1] == "run" && isOurs(word) {
				last = i
			}
		default:
			if i == 0 && isOurs(word) {
				last = i
			}
		}
	}
	if last < 0 {
		return nil, false
	}
	return words[last+1:], true
}

// parses says whether confhaul has such a command with such flags and, unless it stands in a text, as many arguments. It does
// not run it.
func (c docCommand) parses() error {
	args := c.args
	e := &env{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, getenv: func(string) string { return "" }}
	root := e.root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if help, err := cmd.Flags().GetBool("help"); err == nil && help || c.inText {
		return nil
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return err
	}
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return err
	}
	return cmd.ValidateFlagGroups()
}

// TestDocCommands holds every command in the pages to the commands and flags there are.
func TestDocCommands(t *testing.T) {
	t.Parallel()
	n := 0
	for _, file := range docFiles(t) {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range docCommands(string(page)) {
			n++
			if err := c.parses(); err != nil {
				t.Errorf("%s:%d: confhaul %s: %v", file, c.line, strings.Join(c.args, " "), err)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d commands found", n)
	}
}

// TestDocCommandsGoRed proves that wrong commands are found, and that others' are not taken for ours.
func TestDocCommandsGoRed(t *testing.T) {
	t.Parallel()
	block := func(text string) string { return "# T\n\n```sh\n" + text + "\n```\n" }
	for page, want := range map[string]string{
		block("confhaul status --site riga  # a comment with 'one quote"): "[status --site riga]",
		block("X=1 ./confhaul log 'a b' | grep confhaul"):                 "[log a b]",
		block("confhaul backup --all \\\n  --wait && confhaul status"):    "[backup --all --wait][status]",
		block("go run ./cmd/confhaul demo"):                               "[demo]",
		block("sudo -u confhaul /usr/bin/confhaul status"):                "[status]",
		block("kubectl -n confhaul exec deploy/x -- confhaul status"):     "[status]",
		block("kubectl -n confhaul get pods\nsystemctl restart confhaul"): "",
		block("confhaul hostkey export > keys"):                           "[hostkey export]",
		"Type `confhaul unblock --credential NAME`, not `confhaul_x`.":    "[unblock --credential NAME]",
		"```\nconfhaul nosuch\n```\n":                                     "",
	} {
		got := ""
		for _, c := range docCommands(page) {
			got += fmt.Sprint(c.args)
		}
		if got != want {
			t.Errorf("%q has %s, want %s", page, got, want)
		}
	}
	for _, wrong := range []string{"nosuch", "status --nosuch", "log", "site limit riga", "hostkey nosuch", "status --site"} {
		if (docCommand{args: strings.Fields(wrong)}).parses() == nil {
			t.Errorf("confhaul %s passes", wrong)
		}
	}
}

// TestTroubleshooting: every kind of fault has its heading, in the order of the kinds, with a command to type below it.
func TestTroubleshooting(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "deployments", "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(page), "\n## ")[1:]
	kinds := fault.Kinds()
	if len(sections) != len(kinds) {
		t.Fatalf("%d headings for %d kinds", len(sections), len(kinds))
	}
	for i, kind := range kinds {
		heading, text, _ := strings.Cut(sections[i], "\n")
		if heading != string(kind) {
			t.Errorf("heading %d is %q, want %q", i+1, heading, kind)
		}
		if len(docCommands(text)) == 0 || !strings.Contains(text, "Seen: ") || !strings.Contains(text, "Why") {
			t.Errorf("%s does not say what is seen, why, and what to type", kind)
		}
	}
}
