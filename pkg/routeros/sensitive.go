package routeros

import (
	"bytes"
	"slices"
)

// The values of Verdict.Sensitive and Inspection.Sensitive: whether the export has the router's secrets.
const (
	SensitiveShown   = "shown"   // a sensitive parameter has a value
	SensitiveHidden  = "hidden"  // none has, and an item lacks the one that it cannot exist without; or a WireGuard interface does
	SensitiveUnknown = "unknown" // neither: perhaps the router has no secret
)

// sensitive are the parameters that RouterOS prints only to those who may see secrets, by name, with the menus in which the
// name means a secret; none: in all. It is MikroTik's list of menus with sensitive parameters, without what stands in no
// export (installed keys, arguments of commands), and with the names that RouterOS 6 had for the same. In a dotted form such
// as security.passphrase the last part counts. The source of scripts can hold secrets too; no switch hides those.
var sensitive = map[string][]string{
	"password":                    nil,
	"secret":                      nil,
	"passphrase":                  nil,
	"private-key":                 nil,
	"preshared-key":               nil,
	"ipsec-secret":                nil,
	"authentication-password":     nil, // snmp
	"encryption-password":         nil,
	"eap-password":                nil, // wifi, wireless, caps-man
	"mschapv2-password":           nil,
	"private-passphrase":          nil,
	"private-pre-shared-key":      nil,
	"wpa-pre-shared-key":          nil,
	"wpa2-pre-shared-key":         nil,
	"nv2-preshared-key":           nil,
	"management-protection-key":   nil,
	"static-key-0":                nil,
	"static-key-1":                nil,
	"static-key-2":                nil,
	"static-key-3":                nil,
	"static-sta-private-key":      nil,
	"mac-auth-password":           nil, // hotspot, user manager
	"otp-secret":                  nil,
	"shared-secret":               nil,
	"paypal-password":             nil,
	"web-private-password":        nil,
	"ppk-secret":                  nil, // ipsec, macsec
	"auth-key":                    nil,
	"enc-key":                     nil,
	"cak":                         nil,
	"authentication-key":          nil, // routing
	"tcp-md5-key":                 nil,
	"connection-request-password": nil, // tr069
	"vpn-private-key":             nil, // cloud
	"vpn-peer-private-key":        nil,
	"challenge-password":          nil, // certificate
	"challenge-passphrase":        nil,
	"key-passphrase":              nil,
	"nvme-tcp-password":           nil, // disk
	"nvme-tcp-server-password":    nil,
	"smb-password":                nil,
	"smb-server-password":         nil,
	"sshfs-password":              nil,
	"self-encryption-password":    nil,
	"encryption-key":              nil,
	"key-val":                     nil, // ntp
	"sim-pin":                     nil, // sms
	"secrets":                     {"/tool romon"},
	"pin":                         {"/interface lte", "/interface ppp-client"},
	"key":                         {"/iot", "/ip ipsec key", "/routing rip"},
	"identity":                    {"/zerotier"},
}

// required are the items that cannot exist without their secret.
var required = []requirement{
	{menu: "/ppp secret", name: "password"},
	{menu: "/interface wireguard", name: "private-key", always: true},
}

// plain are menus without sensitive parameters that long exports are made of: looking for some there would cost a fifth of
// the time. A menu that is not listed is looked through.
var plain = []string{
	"/ip firewall", "/ipv6 firewall", "/ip address", "/ipv6 address", "/ip route", "/ipv6 route", "/ip pool", "/ip dns static",
	"/ip dhcp-server", "/ip arp", "/ip hotspot ip-binding", "/ip hotspot walled-garden", "/interface bridge", "/interface ethernet",
	"/interface list", "/interface vlan", "/routing filter", "/queue", "/system script", "/system scheduler",
}

type requirement struct {
	menu, name string
	always     bool // tells that secrets are hidden, whatever else shows: the router makes up its own key
}

// isSensitive says whether a parameter of menu is on the list.
func isSensitive(menu, name []byte) bool {
	if !mayBeSensitive(name) {
		return false
	}
	if at := bytes.LastIndexByte(name, '.'); at >= 0 {
		name = name[at+1:]
	}
	menus, ok := sensitive[string(name)]
	if !ok || menus == nil {
		return ok
	}
	return slices.ContainsFunc(menus, func(path string) bool { return under(menu, path) })
}

// tails has the last three bytes of each sensitive name, so that one look at them sends most parameters away.
var tails = func() (t [tailCount]bool) {
	for name := range sensitive {
		t[tail([]byte(name))] = true
	}
	return t
}()

const tailCount = 1 << 11

// tail is the place in tails of the last three bytes of name.
func tail(name []byte) int {
	n := len(name)
	return int(name[n-1]&31)<<6 ^ int(name[n-2]&31)<<3 ^ int(name[n-3]&31)
}

// mayBeSensitive says whether text ends as a sensitive name does.
func mayBeSensitive(text []byte) bool { return len(text) >= 3 && tails[tail(text)] }

// maySet says whether command may set a sensitive parameter. It is wrong about some that do not, and about none that does.
func maySet(command []byte) bool {
	for {
		at := bytes.IndexByte(command, '=')
		if at < 0 {
			return false
		}
		if mayBeSensitive(command[:at]) {
			return true
		}
		command = command[at+1:]
	}
}

// census counts the secrets of an export.
type census struct {
	menu    []byte       // the one under way
	plain   bool         // it has no sensitive parameter
	needs   *requirement // of an item in it
	values  int          // sensitive parameters with a value
	lacking lack         // the first item without the secret that it needs
	always  lack         // the first whose requirement is of the kind always
}

// lack is an item that lacks its secret.
type lack struct {
	*requirement
	line int // from 1; 0: there is none
}

// enter moves to menu.
func (c *census) enter(menu []byte) {
	c.menu, c.plain, c.needs = menu, false, nil
	for _, path := range plain {
		c.plain = c.plain || under(menu, path)
	}
	for i := range required {
		if same(menu, required[i].menu) {
			c.needs = &required[i]
		}
	}
}

// count takes one command in.
func (c *census) count(command []byte, line int) {
	if c.plain || c.needs == nil && !maySet(command) {
		return
	}
	needs := c.needs
	verb, rest := cutVerb(command)
	if string(verb) != "add" {
		needs = nil
	}
	for len(rest) > 0 {
		var word []byte
		word, rest = nextWord(rest)
		name, value, ok := parameter(word)
		if !ok || len(value) == 0 || !isSensitive(c.menu, name) {
			continue
		}
		c.values++
		if needs != nil && string(name) == needs.name {
			needs = nil
		}
	}
	if needs == nil {
		return
	}
	if c.lacking.line == 0 {
		c.lacking = lack{needs, line}
	}
	if needs.always && c.always.line == 0 {
		c.always = lack{needs, line}
	}
}

// verdict is what the count says, with the item that shows it where secrets are hidden.
func (c *census) verdict() (string, lack) {
	switch {
	case c.values == 0 && c.lacking.line > 0:
		return SensitiveHidden, c.lacking
	case c.always.line > 0:
		return SensitiveHidden, c.always
	case c.values > 0:
		return SensitiveShown, lack{}
	}
	return SensitiveUnknown, lack{}
}
