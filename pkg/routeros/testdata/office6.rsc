# sep/ 2/2024  3: 9:38 by RouterOS 6.49.17
# software id = 
#
# model = 951Ui-2HnD
# serial number = 0A0A0A0A0A0A

/interface bridge
add name=lan   
/interface wireless
# managed by CAPsMAN
# channel: 2412/20/gn(20dBm), SSID: back\, CAPsMAN forwarding\
set [ find default-name=wlan1 ] disabled=no ssid=office
#error exporting /interface bridge calea
/ip pool
add name=dhcp ranges=192.0.2.10-192.0.2.99
/system identity
set name=office6
/system lcd page
set <pppoe-carol> disabled=yes display-time=5s
/tool user-manager database
set db-path=user-manager
