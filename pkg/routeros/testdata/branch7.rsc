# 2026-03-01 04:10:07 by RouterOS 7.16.2
# software id = ABCD-0123
#
# model = RB5009UG+S+
# serial number = HX0000000AA
/interface bridge
add admin-mac=00:00:5E:00:53:10 auto-mac=no comment=defconf name=bridge \
    port-cost-mode=short
/interface ethernet
# poe-out status: short_circuit
set [ find default-name=ether8 ] comment="camera \\\"yard\\\" # do not unplug\
    \_before asking" poe-out=forced-on
/interface pppoe-client
# pppoe-out1 not ready
add add-default-route=yes disabled=no interface=ether1 name=pppoe-out1 \
    password=\
    "correct horse battery staple correct horse battery staple correct horse b\
    attery" user=branch7@example.net
/port
set 0 name=serial0
/user group
set full policy="local,telnet,ssh,ftp,reboot,read,write,policy,test,winbox,pas\
    sword,web,sniff,sensitive,api,romon,rest-api"
/ip firewall filter
# inactive time
add action=drop chain=forward in-interface=*8 src-address-list=guests time=\
    22h-6h,sun,mon,tue,wed,thu,fri,sat
add action=accept chain=input comment=\
    "#interrupted is only a word here" connection-state=\
    established,related,untracked
/lcd
set backlight-timeout=5m default-screen=stats
/lcd interface pages
set 0 interfaces=ether1,ether2
set <pppoe-alice> disabled=yes display-time=5s
set "<pppoe-bob smith>" disabled=yes display-time=5s
/system clock
set time-zone-name=Europe/Riga
/system identity
set name="Branch 7 \D0\9F \"north\""
/system script
add dont-require-permissions=no name=watch owner=admin policy=\
    ftp,reboot,read,write,policy,test source=":global count;\r\
    \n# a comment of the script\r\
    \n:set count (\$count + 1);\r\
    \n:if (\$count > 3) do={ :log warning \"C:\\\\temp\\\\\" ; /system reboot \
    };\r\
    \n"
#error exporting "/system/routerboard/mode-button"
