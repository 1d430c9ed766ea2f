package routersim

import "strings"

// note has lines that look like status comments and are text.
const note = "# inactive time\r\n#error exporting is not what this is\r\n# ether1 not ready: \"see\" the wiki\r\n\r\nend of note\r\n"

// report has every kind of escape, and lines so long that each width breaks them somewhere else.
var report = strings.ReplaceAll(`# builds a line such as "gw: up # 12 %"; \ and	a tab are text
:local line ("load: " . [/system resource get cpu-load] . " % \\ free: " . [/system resource get free-memory] . "\r\n");
#	indented with a tab, a word after six blanks:      here
:foreach i in=[/interface find where running and !(name~"^<")] do={ :set line ($line . [/interface get $i name] . "?") }
/tool e-mail send to=noc@example.net subject="Büro" body=$line
`, "\n", "\r\n")

// scripts are texts of several lines inside quotes.
func (b *builder) scripts() {
	b.menu("/system note")
	b.set("", "note", note, "show-at-login", "no")
	b.pages()
	start := "2024-02-01"
	if b.before710() {
		start = "feb/01/2024"
	}
	b.menu("/system scheduler")
	b.add("interval", "1d", "name", "nightly", "on-event", "/system script run check-uplink", "policy",
		"ftp,reboot,read,write,policy,test,password,sniff,sensitive,romon", "start-date", start, "start-time", "03:30:00")
	b.menu("/system script")
	b.add("dont-require-permissions", "no", "name", "check-uplink", "owner", "admin", "policy", "read,write,test", "source",
		"# asks the gateway whether it is there\r\n:local gw \""+b.lan()+".254\";\r\n"+
			":if ([/ping $gw count=3] = 0) do={\r\n  :log warning \"uplink of "+b.identity()+" is gone, who pulled the cable?\";\r\n}\r\n")
	b.add("dont-require-permissions", "no", "name", "report", "owner", "admin", "policy", "read,test", "source", report)
}

func (b *builder) tools() {
	b.menu("/tool mac-server")
	b.set("", "allowed-interface-list", "LAN")
	b.menu("/tool mac-server mac-winbox")
	b.set("", "allowed-interface-list", "LAN")
}
