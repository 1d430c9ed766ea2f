package routersim

import "fmt"

func (p profile) lan() string { return fmt.Sprintf("10.%d.%d", p.n/250%250, p.n%250) }

func (b *builder) interfaces() {
	b.menu("/interface bridge")
	if !b.before710() {
		b.add("admin-mac", b.mac(), "auto-mac", "no", "comment", "defconf", "name", "bridge", "port-cost-mode", "short")
	} else {
		b.add("admin-mac", b.mac(), "auto-mac", "no", "comment", "defconf", "name", "bridge")
	}
	b.menu("/interface ethernet")
	if b.model == "" {
		b.set("[ find default-name=ether1 ]", "disable-running-check", "no")
	} else {
		b.set("[ find default-name=ether1 ]", "comment", "uplink to "+b.site+" \"core\"")
		b.set("[ find default-name=ether5 ]", "poe-out", "forced-on")
		b.status("poe-out status: short_circuit", "poe-out status: voltage_on_poe-in", "poe-out status: overload")
	}
	if !b.v6() {
		b.menu("/interface wireguard")
		b.add("listen-port", "13231", "mtu", "1420", "name", "wireguard1", "private-key", b.key())
	}
	b.menu("/interface vlan")
	b.add("interface", "bridge", "name", "vlan20-voice", "vlan-id", "20")
	if b.n%3 == 0 {
		b.menu("/interface pppoe-client")
		b.add("add-default-route", "yes", "disabled", "no", "interface", "ether1", "name", "pppoe-out1", "password",
			b.password(), "use-peer-dns", "yes", "user", b.id+"@isp.example")
		b.status("ether1 not ready")
	}
	b.menu("/interface list")
	b.add("comment", "defconf", "name", "WAN")
	b.add("comment", "defconf", "name", "LAN")
	if b.before710() && b.model != "" {
		b.menu("/interface wireless security-profiles")
		b.set("[ find default=yes ]", "authentication-types", "wpa2-psk", "mode", "dynamic-keys", "supplicant-identity",
			"MikroTik", "wpa2-pre-shared-key", b.password())
	}
}

func (b *builder) services() {
	b.menu("/ip pool")
	b.add("name", "default-dhcp", "ranges", b.lan()+".10-"+b.lan()+".254")
	b.menu("/ip dhcp-server")
	if b.v6() {
		b.add("address-pool", "default-dhcp", "disabled", "no", "interface", "bridge", "lease-time", "10m", "name", "defconf")
	} else {
		b.add("address-pool", "default-dhcp", "interface", "bridge", "lease-time", "10m", "name", "defconf")
	}
	b.status("address pool error: pool not found: default-dhcp (4)")
	b.menu("/port")
	b.set("0", "name", "serial0")
	b.menu("/snmp community")
	b.set("[ find default=yes ]", "addresses", "10.0.0.0/8", "authentication-password", b.password(),
		"encryption-password", b.password(), "name", "monitoring", "security", "private")
	b.menu("/user group")
	b.add("name", "backup", "policy", "ssh,read,sensitive,!local,!telnet,!ftp,!reboot,!write,!policy,!test,!winbox,!password,!web,!sniff,!api,!romon")
	b.menu("/interface bridge port")
	for i := 2; i <= 5; i++ {
		port := fmt.Sprintf("ether%d", i)
		if !b.before710() {
			b.add("bridge", "bridge", "comment", "defconf", "interface", port, "internal-path-cost", "10", "path-cost", "10")
		} else {
			b.add("bridge", "bridge", "comment", "defconf", "interface", port)
		}
	}
	b.status("ether5 not ready", "lte1 not ready", "wifi4 not ready")
	b.menu("/ip neighbor discovery-settings")
	b.set("", "discover-interface-list", "LAN")
	b.menu("/interface list member")
	b.add("comment", "defconf", "interface", "bridge", "list", "LAN")
	b.add("comment", "defconf", "interface", "ether1", "list", "WAN")
	if !b.v6() {
		b.menu("/interface wireguard peers")
		b.add("allowed-address", "172.16.0.0/24,10.0.0.0/8", "comment", "head office", "endpoint-address",
			"vpn.example.net", "endpoint-port", "13231", "interface", "wireguard1", "public-key", b.key())
	}
}

func (b *builder) addresses() {
	b.menu("/ip address")
	b.add("address", b.lan()+".1/24", "comment", "defconf", "interface", "bridge", "network", b.lan()+".0")
	b.add("address", fmt.Sprintf("172.20.%d.1/24", b.n%250), "interface", "vlan20-voice", "network",
		fmt.Sprintf("172.20.%d.0", b.n%250))
	b.menu("/ip dhcp-client")
	if b.v6() {
		b.add("comment", "defconf", "disabled", "no", "interface", "ether1")
	} else {
		b.add("comment", "defconf", "interface", "ether1")
	}
	b.status("DHCP client can not run on slave or passthrough interface!")
	b.menu("/ip dhcp-server network")
	b.add("address", b.lan()+".0/24", "comment", "defconf", "dns-server", b.lan()+".1", "gateway", b.lan()+".1")
	b.menu("/ip dns")
	b.set("", "allow-remote-requests", "yes", "servers", "192.0.2.53,198.51.100.53")
	b.menu("/ip dns static")
	b.add("address", b.lan()+".1", "comment", "defconf", "name", "router.lan")
}

func (b *builder) firewall(changes int) {
	b.menu("/ip firewall address-list")
	b.add("address", "198.51.100.0/28", "comment", "network management", "list", "nms")
	b.add("address", b.address(), "comment", "B\xC3\xBCro "+b.site, "list", "office")
	for i := 1; i <= changes; i += 2 {
		b.add("address", fmt.Sprintf("203.0.113.%d", i%250+1), "comment", fmt.Sprintf("change %d", i), "list", "changed")
	}
	b.menu("/ip firewall filter")
	b.add("action", "accept", "chain", "input", "comment", "defconf: accept established,related,untracked",
		"connection-state", "established,related,untracked")
	b.add("action", "drop", "chain", "input", "comment", "defconf: drop invalid", "connection-state", "invalid")
	b.add("action", "accept", "chain", "input", "comment", "Remote MGMT", "in-interface-list", "WAN", "src-address-list", "nms")
	b.add("action", "drop", "chain", "input", "comment", "defconf: drop all not coming from LAN", "in-interface-list", "!LAN")
	b.add("action", "drop", "chain", "forward", "comment",
		"no guests at night: asked for by \"facility\" on the phone, costs $0 and saves the help desk a call, ok?",
		"src-address", fmt.Sprintf("172.20.%d.0/24", b.n%250), "time", "22h-6h,sun,mon,tue,wed,thu,fri,sat")
	b.status("inactive time")
	b.add("action", "accept", "chain", "forward", "comment", "## backups ## #1 of 2 # not a comment of ours ## "+
		"the window is tight, see ticket #4711 ######################################## ##", "dst-address", b.lan()+".30",
		"time", "1h-5h,mon,tue,wed,thu,fri")
	b.status("inactive time")
	b.menu("/ip firewall nat")
	b.add("action", "masquerade", "chain", "srcnat", "comment", "defconf: masquerade", "ipsec-policy", "out,none",
		"out-interface-list", "WAN")
	b.add("action", "dst-nat", "chain", "dstnat", "dst-port", "8443", "in-interface", "ether1", "protocol", "tcp",
		"to-addresses", b.lan()+".20", "to-ports", "443")
	b.status("in/out-interface matcher not possible when interface (ether1) is slave - use master instead (bridge)")
}

func (b *builder) system(changes int) {
	b.menu("/ip route")
	if b.v6() {
		b.add("distance", "1", "dst-address", "10.0.0.0/8", "gateway", "172.16.0.1")
	} else {
		b.add("disabled", "no", "distance", "1", "dst-address", "10.0.0.0/8", "gateway", "wireguard1", "routing-table", "main",
			"scope", "30", "suppress-hw-offload", "no", "target-scope", "10")
	}
	b.menu("/ip service")
	b.set("telnet", "disabled", "yes")
	b.set("ftp", "disabled", "yes")
	b.set("api", "disabled", "yes")
	b.menu("/ppp secret")
	b.add("name", b.id+"-vpn", "password", b.password(), "profile", "default-encryption", "service", "l2tp")
	b.menu("/snmp")
	contact := "noc@example.net"
	if changes >= 2 { // every second change moves the contact; the others are in the address list
		contact = fmt.Sprintf("noc%d@example.net", changes/2)
	}
	b.set("", "contact", contact, "enabled", "yes", "location", "Rack "+fmt.Sprint(1+b.n%40)+", "+b.site)
	b.menu("/system clock")
	b.set("", "time-zone-name", "Europe/Riga")
	b.menu("/system identity")
	b.set("", "name", b.identity())
	if b.model != "" {
		b.menu("/system routerboard settings")
		b.set("", "auto-upgrade", "yes")
		b.status("Firmware upgraded successfully, please reboot for changes to take effect!")
	}
}
