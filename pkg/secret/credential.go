package secret

import "strings"

// Credential is what opens a device: one user with a password or a private key, never both.
type Credential struct {
	Name       string
	Username   string
	Password   Text
	PrivateKey Text   // PEM or OpenSSH format, without a passphrase
	Version    string // <key id>.<HMAC of the values>: tells one version from another and gives nothing away
	Hide       bool   // sensitive: hide; export without the device's secrets
}

// OtherVersion says whether two credential versions, made with one key, are different.
func OtherVersion(a, b string) bool {
	keyA, _, okA := strings.Cut(a, ".")
	keyB, _, okB := strings.Cut(b, ".")
	return okA && okB && keyA == keyB && a != b
}
