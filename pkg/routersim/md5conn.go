package routersim

import (
	"bytes"
	"encoding/binary"
	"net"
)

// md5Conn makes the server offer hmac-md5, which the SSH library has not, by changing its first key exchange packet on the
// wire. Every client without it gives up there, and one with it at the signature, which covers what the server meant to send.
type md5Conn struct {
	net.Conn
	done bool
}

const (
	kexInit       = 20 // SSH_MSG_KEXINIT
	kexInitOffset = 5  // of the message number, after the packet's length and that of its padding
)

func (c *md5Conn) Write(b []byte) (int, error) {
	if c.done || len(b) <= kexInitOffset || b[kexInitOffset] != kexInit {
		return c.Conn.Write(b)
	}
	c.done = true
	if _, err := c.Conn.Write(offerMD5(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// offerMD5 puts hmac-md5 into the place of hmac-sha1 in both lists of MACs, and makes up for the length in the padding.
func offerMD5(packet []byte) []byte {
	from, to := nameList("hmac-sha1"), nameList("hmac-md5")
	shorter := bytes.Count(packet, from) * (len(from) - len(to))
	out := bytes.ReplaceAll(packet, from, to)
	out[kexInitOffset-1] += byte(shorter)
	return append(out, make([]byte, shorter)...)
}

func nameList(name string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(name))), name...)
}
