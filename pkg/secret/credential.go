package secret

// Credential is what opens a device: one user with a password or a private key, never both.
type Credential struct {
	Name       string
	Username   string
	Password   Text
	PrivateKey Text   // PEM or OpenSSH format, without a passphrase
	Version    string // HMAC of the values: tells one version from another and gives nothing away
	Hide       bool   // sensitive: hide; export without the device's secrets
}
