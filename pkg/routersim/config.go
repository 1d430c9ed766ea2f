package routersim

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// profile is what a router is from the factory: everything its configuration is derived from.
type profile struct {
	seed    uint64 // of this router: the fleet's seed and its id
	id      string
	n       int // place in the fleet, from 1
	site    string
	version string
	model   string // "" for a CHR
	serial  string
	license string // software id or system id
	padded  bool   // prints dates with spaces instead of zeros; only before 7.10
	size    int    // bytes that its export is filled up to
}

func (p profile) v6() bool { return strings.HasPrefix(p.version, "6.") }

// before710 says whether the release is older than 7.10, the first with ISO dates.
func (p profile) before710() bool { return p.v6() || p.version == "7.9.2" }

func (p profile) identity() string { return fmt.Sprintf("%s-gw%04d", p.site, p.n) }

// word is one word of a command.
type word struct {
	text   string
	secret bool
}

// entry is one command of a menu, with the status comments of which one may stand above it.
type entry struct {
	words  []word
	status []string // with line ends
}

type menu struct {
	path    string
	entries []entry
	pages   []string // commands with line ends that come and go, below the entries
	dynamic bool     // has pages only
}

// secrets are the parameters that are absent where the export hides sensitive values.
var secrets = map[string]bool{
	"password": true, "private-key": true, "secret": true, "authentication-password": true, "encryption-password": true,
	"wpa2-pre-shared-key": true, "preshared-key": true, ".passphrase": true,
}

// builder collects menus in the order of the export.
type builder struct {
	profile
	rng   *rand.Rand
	menus []menu
}

func (b *builder) menu(path string) { b.menus = append(b.menus, menu{path: path}) }

// add appends an add command of name, value pairs to the last menu.
func (b *builder) add(pairs ...string) { b.command("add", pairs) }

// set appends a set command; target is "" where the menu is one record.
func (b *builder) set(target string, pairs ...string) {
	if target != "" {
		target = " " + target
	}
	b.command("set"+target, pairs)
}

func (b *builder) command(head string, pairs []string) {
	var e entry
	for _, w := range strings.Fields(head) {
		e.words = append(e.words, word{text: w})
	}
	for i := 0; i < len(pairs); i += 2 {
		e.words = append(e.words, word{text: pairs[i] + "=" + quote(pairs[i+1], b.v6()), secret: secrets[pairs[i]]})
	}
	m := &b.menus[len(b.menus)-1]
	m.entries = append(m.entries, e)
}

// status gives the last command its status comments.
func (b *builder) status(texts ...string) {
	m := &b.menus[len(b.menus)-1]
	e := &m.entries[len(m.entries)-1]
	for _, text := range texts {
		e.status = append(e.status, "# "+text+lineEnd)
	}
}

// page adds the page of a dynamic PPP interface to the last menu.
func (b *builder) page(name string) {
	m := &b.menus[len(b.menus)-1]
	m.pages = append(m.pages, "set "+name+" disabled=yes display-time=5s"+lineEnd)
}

// text draws n characters of alphabet.
func (b *builder) text(n int, alphabet string) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = alphabet[b.rng.IntN(len(alphabet))]
	}
	return string(out)
}

const (
	base32Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)

func (b *builder) password() string { return "pw-" + b.text(14, base32Alphabet) }

func (b *builder) key() string { return b.text(43, base64Alphabet) + "=" }

func (b *builder) mac() string {
	return fmt.Sprintf("00:00:5E:%02X:%02X:%02X", b.rng.IntN(256), b.rng.IntN(256), b.rng.IntN(256))
}

func (b *builder) address() string {
	return fmt.Sprintf("%d.%d.%d.%d", 1+b.rng.IntN(223), b.rng.IntN(256), b.rng.IntN(256), 1+b.rng.IntN(254))
}

// configuration is the router's menus after its first changes. The same profile and changes give the same menus, and a
// larger profile.size only makes the address list and the filter longer.
func configuration(p profile, changes int) []menu {
	b := &builder{profile: p, rng: rand.New(rand.NewPCG(p.seed, 1))}
	b.interfaces()
	b.radio()
	b.tunnels()
	b.services()
	b.addresses()
	b.firewall(changes)
	b.system(changes)
	b.scripts()
	b.tools()
	b.fill()
	return b.menus
}

// fill lengthens the address list, and the filter by every eighth entry, until the export has its size.
func (b *builder) fill() {
	have := len(render(b.menus, nominal).text)
	rng := rand.New(rand.NewPCG(b.seed, 2))
	extra := &builder{profile: b.profile, rng: rng, menus: []menu{{}}}
	list, filter := b.find("/ip firewall address-list"), b.find("/ip firewall filter")
	for n := 0; have < b.size; n++ {
		into := list
		if n%8 == 7 {
			into = filter
			extra.add("action", "accept", "chain", "forward", "comment", fmt.Sprintf("customer %d", n), "dst-port",
				fmt.Sprint(1024+rng.IntN(60000)), "protocol", "tcp", "src-address", extra.address())
		} else {
			extra.add("address", extra.address(), "comment", "ticket "+extra.text(5, base32Alphabet), "list", "customers")
		}
		added := &extra.menus[0].entries[0]
		into.entries = append(into.entries, *added)
		have += renderedLen(added)
		extra.menus[0].entries = extra.menus[0].entries[:0]
	}
}

func (b *builder) find(path string) *menu {
	for i := range b.menus {
		if b.menus[i].path == path {
			return &b.menus[i]
		}
	}
	panic("routersim: no menu " + path)
}
