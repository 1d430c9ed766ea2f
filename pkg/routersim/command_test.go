package routersim

import (
	"reflect"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	export, hidden := command{show: true}, command{}
	put := func(text string) command { return command{put: true, text: text} }
	for _, c := range []struct {
		line    string
		v6      bool
		want    []command
		problem string
	}{
		{line: "/export", v6: true, want: []command{export}},
		{line: "/export", want: []command{hidden}},
		{line: "/export hide-sensitive", v6: true, want: []command{hidden}},
		{line: "/export hide-sensitive", want: []command{hidden}},
		{line: "/export show-sensitive", want: []command{export}},
		{line: "/export show-sensitive", v6: true, problem: "expected end of command (line 1 column 9)"},
		{line: `/export show-sensitive; :put "x"`, v6: true, problem: "expected end of command (line 1 column 9)"},
		{line: `/export show-sensitive; :put "a b"`, want: []command{export, put("a b")}},
		{line: `/export;:put "a;b" ; `, want: []command{hidden, put("a;b")}},
		{line: `:put "\"\\\$\_\n"`, want: []command{put("\"\\$ \n")}},
		{line: ":put [/system identity get name]", want: []command{{put: true, getID: true}}},
		{line: "/export terse", problem: "expected end of command (line 1 column 9)"},
		{line: "/export show-sensitive hide-sensitive", problem: "expected end of command (line 1 column 24)"},
		{line: "bash", problem: "bad command name bash (line 1 column 1)"},
		{line: "/system routerboard print", problem: "bad command name routerboard (line 1 column 9)"},
		{line: "/export; quit", problem: "bad command name quit (line 1 column 10)"},
		{line: "/export\n:put \"x\"", problem: "expected end of command (line 1 column 8)"},
		{line: `:put "x`, problem: "expected closing quote (line 1 column 8)"},
		{line: `:put "x\`, problem: "expected closing quote (line 1 column 9)"},
		{line: ":put x", problem: "expected end of command (line 1 column 6)"},
		{line: ""},
		{line: " ;; "},
	} {
		got, problem := parse(c.line, grammar{v6: c.v6})
		if !reflect.DeepEqual(got, c.want) || problem != c.problem {
			t.Errorf("parse(%q, v6=%v) = %+v, %q; want %+v, %q", c.line, c.v6, got, problem, c.want, c.problem)
		}
	}
}

func TestFaultNames(t *testing.T) {
	t.Parallel()
	for _, f := range append(Faults(), NoFault) {
		if got, err := ParseFault(f.String()); err != nil || got != f {
			t.Errorf("ParseFault(%q) = %v, %v", f, got, err)
		}
	}
	if len(Faults()) != int(SessionLimit) {
		t.Errorf("%d faults have names, want %d", len(Faults()), SessionLimit)
	}
	if _, err := ParseFault("nonsense"); err == nil {
		t.Error("ParseFault took nonsense")
	}
}
