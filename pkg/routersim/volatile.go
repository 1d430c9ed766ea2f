package routersim

// radio is the wireless interface: its comments follow the air, the channel and the CAPsMAN.
func (b *builder) radio() {
	comments := []string{
		"managed by CAPsMAN", "managed by CAPsMAN 192.0.2.1, traffic processing on CAP",
		"no connection to CAPsMAN", "no connection to CAPsMAN, managed locally",
		"channel: 2412/20/gn(20dBm), SSID: guests, CAPsMAN forwarding",
		"channel: 2452/20-Ce/gn(-30dBm), SSID: guests, local forwarding",
		"channel: 5180/20-Ceee/ac/P(17dBm), SSID: guests, CAPsMAN forwarding",
		"mode: AP, SSID: guests, channel: 5745/ax/Ceee", "mode: AP, SSID: guests",
		"DFS channel availability check (1 min)", "SSID not set", "not running",
	}
	switch {
	case b.model == "": // a controller of other routers' radios
		b.menu("/interface wifi")
		b.add("configuration", "guests", "disabled", "no", "name", "cap-wifi1", "radio-mac", b.mac())
	case b.before710():
		b.menu("/interface wireless")
		b.set("[ find default-name=wlan1 ]", "band", "2ghz-b/g/n", "disabled", "no", "mode", "ap-bridge", "ssid", "guests")
	default:
		b.menu("/interface wifi")
		b.set("[ find default-name=wifi1 ]", "configuration.mode", "ap", ".ssid", "guests", "disabled", "no",
			"security.authentication-types", "wpa2-psk,wpa3-psk", ".passphrase", b.password())
	}
	b.status(append(comments, "operated by CAP 192.0.2.4, traffic processing on CAP",
		"operated by CAP 00:00:5E:00:53:01%bridge, traffic processing on CAP")...)
}

// tunnels are virtual interfaces whose comments follow their far end.
func (b *builder) tunnels() {
	b.menu("/interface vrrp")
	b.add("interface", "bridge", "name", "vrrp1", "vrid", "7")
	b.status("received packet from 192.0.2.7 bad format", "not running")
	b.menu("/interface pptp-client")
	b.add("connect-to", "203.0.113.9", "name", "pptp-old", "password", b.password(), "user", b.id)
	b.status("PPTP connections are considered unsafe, it is suggested to use a more modern VPN protocol instead",
		"pppoe-out1 not ready")
	b.menu("/interface bridge vlan")
	b.add("bridge", "bridge", "tagged", "bridge,ether2", "vlan-ids", "20")
	b.status("duplicate vlan ids are not allowed due to interface list support, please merge vlan entries into one")
	b.menu("/ip ipsec peer")
	b.add("address", "203.0.113.1/32", "exchange-mode", "ike2", "name", "head-office")
	b.menu("/ip ipsec identity")
	b.add("peer", "head-office", "secret", b.password())
	b.status("Suggestion to use stronger pre-shared key or different authentication method")
	if b.v6() {
		return
	}
	b.menu("/zerotier interface")
	b.add("instance", "zt1", "name", "zerotier1", "network", "8056c2e21c000001")
	b.status("zerotier1 not ready")
	b.menu("/ipv6 settings")
	b.set("", "max-neighbor-entries", "8192")
	b.status("ipv6 neighbor configuration has changed, please restart the device in order to apply the new settings")
}

// pages are the menus of a display, on every second router: each caller has a page while the call lasts. On some the menu
// has no other pages.
func (b *builder) pages() {
	if b.n%4 == 1 {
		b.menu("/lcd interface pages")
		b.menus[len(b.menus)-1].dynamic = true
		b.page("<pppoe-joker>")
		b.page(`"<l2tp-night shift>"`)
	}
	if b.n%2 == 1 {
		b.menu("/system lcd page")
		b.set("time", "disabled", "no", "display-time", "5s")
		b.page("<pppoe-joker>")
		b.page(`"<pppoe-two words>"`)
	}
}
