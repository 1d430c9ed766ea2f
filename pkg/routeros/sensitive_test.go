package routeros

import (
	"bytes"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/fault"
)

func TestSensitive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		secrets    int
		sensitive  string
	}{
		{"nothing", "/ip\nadd a=b\n", 0, SensitiveUnknown},
		{"one", "/ppp secret\nadd name=a password=b\n", 1, SensitiveShown},
		{"two in a line", "/interface l2tp-client\nadd ipsec-secret=x name=a password=y\n", 2, SensitiveShown},
		{"quoted", "/radius\nadd secret=\"a b\"\n", 1, SensitiveShown},
		{"empty", "/radius\nadd secret=\"\" address=1.2.3.4\nadd secret=\n", 0, SensitiveUnknown},
		{"masked by a collector", "/ip ipsec identity add peer=a secret=*****\n", 1, SensitiveShown},
		{"dotted", "/interface wifi\nset [ find ] security.passphrase=x .wps=no\n", 1, SensitiveShown},
		{"dotted in short", "/interface wifi\nset [ find ] security.wps=no .passphrase=x\n", 1, SensitiveShown},
		{"word in a value", "/ip\nadd comment=\" password=x\" b=\"\\\" secret=y\"\n", 0, SensitiveUnknown},
		{"script", "/system script\nadd name=a source=\"/ppp secret add name=b password=c\"\n", 0, SensitiveUnknown},
		{"policy", "/user group\nset full policy=ssh,password,sensitive\n", 0, SensitiveUnknown},
		{"longer name", "/ip\nset require-password=yes xsecret=1 my-key=2\n", 0, SensitiveUnknown},
		{"status comment", "/ip\n# password=x\n# x\\\n    secret=y\nadd a=b\n", 0, SensitiveUnknown},
		{"status comment among secrets", "/ppp secret\n# password=x\nadd name=a password=b\n", 1, SensitiveShown},
		{"wrap before the value", "/ppp secret\nadd name=a password=\\\n    \"\\\n    b\"\n", 1, SensitiveShown},
		{"wrap before an empty value", "/ppp secret\nadd name=a password=\\\n    \"\"\n", 0, SensitiveHidden},
		{"wrap in the name", "/ppp secret\nadd name=a passwor\\\n    d=b\n", 1, SensitiveShown},
		{"wrap at the end of the name", "/radius\nadd secre\\\n    t=b\n", 1, SensitiveShown},
		{"menu wrapped", "/ppp \\\n    secret\nadd name=a\n", 0, SensitiveHidden},
		{"key elsewhere", "/ip ipsec identity\nadd key=mine\n/ip\nset identity=x pin=1 secrets=2\n", 0, SensitiveUnknown},
		{"key", "/routing rip keys\nadd key=x\n/iot lora servers\nadd key=y\n/zerotier\nset zt1 identity=z\n/interface lte\nset [ find ] pin=1\n/tool romon\nset secrets=s\n", 5, SensitiveShown},
		{"ppp secret without", "/ppp secret\nadd name=a\n", 0, SensitiveHidden},
		{"ppp secret without, version 7 path", "/ppp/secret\nadd name=a\n", 0, SensitiveHidden},
		{"ppp secret without, terse", "/ppp secret add name=a\n", 0, SensitiveHidden},
		{"ppp secret without, others shown", "/ppp secret\nadd name=a\nadd name=b password=x\n", 1, SensitiveShown},
		{"ppp secret set", "/ppp secret\nset a disabled=yes\n", 0, SensitiveUnknown},
		{"ppp l2tp-secret", "/ppp l2tp-secret\nadd address=1.2.3.4\n", 0, SensitiveUnknown},
		{"wireguard without, others shown", "/radius\nadd secret=x\n/interface wireguard\nadd name=wg1\n", 1, SensitiveHidden},
		{"wireguard", "/interface wireguard\nadd name=wg1 private-key=\"x=\"\n/interface wireguard peers\nadd name=p\n", 1, SensitiveShown},
		{"firewall", "/ip firewall filter\nadd password=x\n", 0, SensitiveUnknown},
		{"firewall, one line", "/ip firewall filter add password=x\n", 0, SensitiveUnknown},
		{"after the firewall", "/ip firewall filter\nadd a=b c=d\n/ppp secret\nadd password=x\n", 1, SensitiveShown},
		{"no line end", "/radius\nadd secret=x", 1, SensitiveShown},
		{"quotes that never close", "/radius\nadd comment=\"a\nadd secret=x\n", 1, SensitiveShown},
	} {
		for form, text := range map[string][]byte{"lf": []byte(c.text), "crlf": crlf([]byte(c.text)), "wrapped": wrap(Normalize(nil, []byte(c.text)), 10)} {
			v := Prove(nil, append([]byte(header), text...), "", Want{Hide: true}, nil)
			if v.Secrets != c.secrets || v.Sensitive != c.sensitive {
				t.Errorf("%s, %s: %d secrets, %s; want %d, %s", c.name, form, v.Secrets, v.Sensitive, c.secrets, c.sensitive)
			}
		}
	}
}

// TestSensitiveNames sets each listed parameter once, in a menu in which it counts, in every place of a line.
func TestSensitiveNames(t *testing.T) {
	t.Parallel()
	for name, menus := range sensitive {
		menu := "/interface"
		if menus != nil {
			menu = menus[0]
		}
		for _, line := range []string{name + "=x", name + "=x a=b", "comment=\"x y\" " + name + "=x", "a.b=c ." + name + "=\"x\""} {
			if v := Prove(nil, []byte(header+menu+"\nset "+line+"\n"), "", Want{}, nil); v.Secrets != 1 {
				t.Errorf("%s in %q: %d secrets", name, line, v.Secrets)
			}
		}
		for _, path := range plain {
			if under([]byte(menu), path) {
				t.Errorf("%s counts in %s, where nobody looks", name, path)
			}
		}
	}
}

func TestProveHidden(t *testing.T) {
	t.Parallel()
	const hidden = "/ip\nadd a=b\n/ppp secret\nadd disabled=no \\\n    name=alice\nadd name=bob\n/system identity\nset name=r1\n"
	for _, c := range []struct {
		name, text string
		want       Want
		kind       fault.Kind
		reason     string
	}{
		{"7", hidden, Want{Major: 7}, fault.Permission, "line 9: an item of /ppp secret without its password"},
		{"7, cure", hidden, Want{Major: 7}, fault.Permission, "policy=ssh,read,sensitive"},
		{"7, other cure", hidden, Want{Major: 7}, fault.Permission, `"sensitive: hide"`},
		{"unknown", hidden, Want{}, fault.Permission, ""},
		{"hide", hidden, Want{Major: 7, Hide: true}, "", ""},
		{"somebody says so", hidden, Want{Major: 7, WithoutSecrets: true}, "", ""},
		{"asked in the wrong form", hidden, Want{Major: 6}, fault.Incomplete, "ask again as RouterOS 7"},
		{"cut", hidden + "/x\nadd \\", Want{Major: 7}, fault.Incomplete, "without the end marker"},
		{"menu missing", hidden + "#error exporting /x (timeout)\n", Want{Major: 7}, fault.Incomplete, "did not answer"},
		{"wireguard", "/interface wireguard\nadd name=wg\n/ppp secret\nadd password=x\nadd name=y\n", Want{Major: 7}, fault.Permission, "line 7: an item of /interface wireguard without its private-key"},
	} {
		v := Prove(nil, []byte(header+c.text+marker+"\n"), marker, c.want, nil)
		if v.Kind != c.kind || v.Complete != (c.kind == "") || !strings.Contains(v.Reason, c.reason) {
			t.Errorf("%s: kind %q, complete %t: %s", c.name, v.Kind, v.Complete, v.Reason)
		}
		if strings.Contains(v.Reason, "alice") {
			t.Errorf("%s: a value shows in %s", c.name, v.Reason)
		}
	}
}

func TestSecretsGone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, last, now, item string
		n                     int
	}{
		{"nothing", "", "", "", 0},
		{"same", "/ppp secret\nadd name=a password=x\n", "/ppp secret\nadd name=a password=x\n", "", 0},
		{"another value", "/ppp secret\nadd name=a password=x\n", "/ppp secret\nadd name=a password=y\n", "", 0},
		{"gone", "/ppp secret\nadd name=a password=x service=l2tp\n", "/ppp secret\nadd name=a service=l2tp\n", "/ppp secret name=a", 1},
		{"empty now", "/ppp secret\nadd name=a password=x\n", "/ppp secret\nadd name=a password=\"\"\n", "/ppp secret name=a", 1},
		{"the item is gone", "/ppp secret\nadd name=a password=x\nadd name=b\n", "/ppp secret\nadd name=b\n", "", 0},
		{"the item changed", "/ppp secret\nadd name=a password=x\n", "/ppp secret\nadd comment=c name=a\n", "", 0},
		{"moved to another menu", "/a\nadd name=a password=x\n", "/b\nadd name=a\n", "", 0},
		{"another spelling of the menu", "/ppp secret\nadd name=a password=x\n", "/ppp/secret\nadd name=a\n", "/ppp secret name=a", 1},
		{"one line", "/ppp secret add name=a password=x\n", "/ppp secret\nadd name=a\n", "/ppp secret name=a", 1},
		{"one of two secrets left", "/a\nadd ipsec-secret=x password=y\n", "/a\nadd password=y\n", "", 0},
		{"three, the first named", "/radius\nadd address=r1 secret=x\n/ppp secret\nadd name=b password=x\nadd name=c password=x\n",
			"/ppp secret\nadd name=c\nadd name=b\n/radius\nadd address=r1\n", "/radius address=r1", 3},
		{"equal items, one lost", "/radius\nadd secret=x\nadd secret=y\n", "/radius\nadd secret=x\nadd\n", "/radius add", 1},
		{"equal items, one without before", "/radius\nadd secret=x\nadd\n", "/radius\nadd secret=x\nadd\n", "", 0},
		{"equal items, another without now", "/radius\nadd secret=x\n", "/radius\nadd secret=x\nadd\n", "", 0},
		{"equal items, both lost", "/radius\nadd secret=x\nadd\n", "/radius\nadd\nadd\n", "/radius add", 1},
		{"found item", "/interface wifi\nset [ find default-name=wifi1 ] security.passphrase=x .wps=no\n",
			"/interface wifi\nset [ find default-name=wifi1 ] security.wps=no\n", "/interface wifi [ find default-name=wifi1 ]", 1},
		{"dotted in the middle", "/w\nset 0 s.a=1 .passphrase=x .wps=no\n", "/w\nset 0 s.a=1 .wps=no\n", "/w 0", 1},
		{"no secret in words", "/snmp community\nset authentication-password=x encryption-password=y\n", "/snmp community\nset\n", "/snmp community set", 1},
		{"no verb", "/x password=hunter2\n", "/x\n", "", 0},
		{"no verb, other words", "/x password=hunter2 a=b\n", "/x a=b\n", "/x a=b", 1},
		{"no menu", "x password=hunter2\nset secret=y\n", "x\nset\n", "x", 2},
		{"secret in a value", "/a\nadd comment=\" password=x\"\n", "/a\nadd comment=\"\"\n", "", 0},
	} {
		if item, n := SecretsGone([]byte(c.last), []byte(c.now)); item != c.item || n != c.n {
			t.Errorf("%s: %q, %d; want %q, %d", c.name, item, n, c.item, c.n)
		}
	}
}

// FuzzSecrets holds the count against a plain second reading, at any width, and what is gone against a text whose secrets
// were cut out.
func FuzzSecrets(f *testing.F) {
	for _, s := range []string{"/ppp secret\nadd name=a password=\"b c\"\nadd name=d\n", "/ip firewall\nadd password=x\n/a add secret=\"\" .b.passphrase=x\n",
		"/iot\nadd key=x comment=\"\\\" key=y\" \\ key=z\n", "/interface wireguard\nadd a=b\n/x\nadd private-key=\\\"\n", "add\tcak=1=2 pin==\n", "0 passphrase=0\n", "passphrase=0\n", "/x passphrase=0\n"} {
		f.Add([]byte(s), uint(20))
	}
	f.Add(read(f, "branch7.normal"), uint(79))
	f.Fuzz(func(t *testing.T, text []byte, width uint) {
		normal := Normalize(nil, bytes.ReplaceAll(text, []byte("\t"), []byte(" ")))
		if bytes.Contains(normal, []byte("  ")) || bytes.HasPrefix(normal, []byte(" ")) || bytes.Contains(normal, []byte("\n ")) {
			return // the plain reading makes one of two blanks, and none of those that begin a line
		}
		values, items, without := plainSecrets(string(normal))
		for form, text := range map[string][]byte{"normal": normal, "wrapped": wrap(normal, int(width%300))} {
			if v := Inspect(text); look(nil, text).secrets.values != values || (values > 0) != (v.Sensitive == SensitiveShown) && v.Sensitive != SensitiveHidden {
				t.Errorf("%q, %s: %d secrets, %s; the plain reading %d", text, form, look(nil, text).secrets.values, v.Sensitive, values)
			}
		}
		if item, n := SecretsGone(normal, normal); item != "" || n != 0 {
			t.Errorf("%q lost %d secrets to itself, %s", normal, n, item)
		}
		if items < 0 || bytes.Contains(normal, []byte(".")) {
			return // cutting a dotted parameter out changes what the next one means
		}
		if item, n := SecretsGone(normal, []byte(without)); n != items || (item == "") != (n == 0) {
			t.Errorf("%q against %q: %d gone, %q; the plain reading %d", normal, without, n, item, items)
		}
	})
}

// plainSecrets reads a normal form again: its values, its items with one, and the text without sensitive parameters. The
// items are below 0 where one of them is no command.
func plainSecrets(normal string) (values, items int, without string) {
	var out strings.Builder
	menu := ""
	for line := range strings.Lines(normal) {
		words := plainWords(strings.TrimSuffix(line, "\n"))
		at := 0
		if line[0] == '/' {
			for at < len(words) && !strings.HasPrefix(words[at], "[") && !strings.Contains(words[at], "=") && !item([]byte(words[at])) {
				at++
			}
			menu = strings.ReplaceAll(strings.Join(words[:at], " "), "/", " ")
		}
		secret, verb := 0, false
		if at < len(words) && item([]byte(words[at])) {
			at++
			verb = true
		}
		kept := words[:at]
		for _, word := range words[len(kept):] {
			name, value, ok := strings.Cut(word, "=")
			part := strings.Split(name, ".")
			menus, known := sensitive[part[len(part)-1]]
			if !ok || !known || strings.Contains(name, `"`) || menus != nil && !plainUnder(menu, menus) {
				kept = append(kept, word)
			} else if strings.Trim(value, `"`) != "" {
				secret++
			}
		}
		switch {
		case secret > 0 && verb:
			items++
		case secret > 0:
			items = -len(normal)
		}
		if !plainUnder(menu, plain) {
			values += secret
		}
		out.WriteString(strings.Join(kept, " ") + "\n")
	}
	return values, items, out.String()
}

func plainUnder(menu string, paths []string) bool {
	for _, path := range paths {
		if strings.HasPrefix(menu+" ", strings.ReplaceAll(path, "/", " ")+" ") {
			return true
		}
	}
	return false
}

func plainWords(line string) (words []string) {
	word, quoted, escaped := "", false, false
	for i := range len(line) {
		c := line[i]
		if !quoted && !escaped && (c == ' ' || c == '\t') {
			if word != "" {
				words = append(words, word)
			}
			word = ""
			continue
		}
		if c == '"' && !escaped {
			quoted = !quoted
		}
		escaped = c == '\\' && !escaped
		word += line[i : i+1]
	}
	if word != "" {
		words = append(words, word)
	}
	return words
}
