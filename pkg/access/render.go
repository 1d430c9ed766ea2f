package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/confhaul/confhaul/pkg/secret"
)

// APIPrefix is under which a user with an account of its own reaches JetStream (nats_api_prefix).
const APIPrefix = "CONFHAUL.API"

// Logins are the secrets of the users, by name.
type Logins struct {
	Passwords map[string]secret.Text // of Redis
	Nkeys     map[string]string      // public keys, of NATS
}

// Redis is the ACL file of Redis. It holds digests of the passwords: they are random, so that there is nothing to guess.
func Redis(users []User, l Logins) string {
	var b strings.Builder
	b.WriteString("user default off\n") // an ACL file takes no comments
	for _, u := range users {
		sum := sha256.Sum256([]byte(l.Passwords[u.Name].Reveal()))
		fmt.Fprintf(&b, "user %s on #%s resetkeys resetchannels -@all %s\n", u.Name, hex.EncodeToString(sum[:]), strings.Join(u.Redis, " "))
	}
	return b.String()
}

const natsHead = `# Made by confhaul settings acl: include it in the settings of every NATS server. It holds no secret.
# A user with an account of its own reaches the streams through the services that it imports, and through nothing else. What
# it asks is answered in its account: with permissions alone, an answer could be had sent to any subject, such as a record
# of another site.
`

// account is the one that the streams are in.
const account = "CONFHAUL"

// NATS is the accounts block for the settings of NATS. inbox gives the subject prefix at which the user of a public key gets
// its answers.
func NATS(users []User, l Logins, inbox func(publicKey string) string) string {
	var b strings.Builder
	b.WriteString(natsHead + "accounts {\n  " + account + " {\n    jetstream: enabled\n    users: [\n")
	exports := map[string][]string{} // accounts, by subject
	next := map[string]bool{}
	for _, u := range users {
		if u.NATS.None() {
			continue
		}
		if u.NATS.Apart {
			for _, subject := range slices.Concat(u.NATS.Publish, u.NATS.Next) {
				exports[subject] = append(exports[subject], apart(u))
				next[subject] = slices.Contains(u.NATS.Next, subject)
			}
			continue
		}
		public := l.Nkeys[u.Name]
		fmt.Fprintf(&b, "      # %s\n      {nkey: %s, permissions: {\n", u.Name, public)
		fmt.Fprintf(&b, "        publish: {allow: [%s\n        ]}\n", list(u.NATS.Publish, "          "))
		fmt.Fprintf(&b, "        subscribe: {allow: [%s\n        ]}\n", list(append(slices.Clone(u.NATS.Subscribe), inbox(public)+".>"), "          "))
		if u.NATS.Responses {
			b.WriteString("        allow_responses: true\n")
		}
		b.WriteString("      }}\n")
	}
	b.WriteString("    ]\n    exports: [\n")
	for _, subject := range sorted(exports) {
		response := ""
		if next[subject] {
			response = ", response: stream"
		}
		fmt.Fprintf(&b, "      {service: %q, accounts: [%s]%s}\n", subject, strings.Join(exports[subject], ", "), response)
	}
	b.WriteString("    ]\n  }\n")
	for _, u := range users {
		if u.NATS.Apart {
			fmt.Fprintf(&b, "  %s {\n    users: [{nkey: %s}]\n    imports: [\n", apart(u), l.Nkeys[u.Name])
			for _, subject := range slices.Concat(u.NATS.Publish, u.NATS.Next) {
				fmt.Fprintf(&b, "      {service: {account: %s, subject: %q}, to: %q}\n", account, subject, local(subject))
			}
			b.WriteString("    ]\n  }\n")
		}
	}
	b.WriteString("}\n")
	return b.String()
}

func apart(u User) string { return account + "_" + u.Name }

// local is what a subject is in an account that has a prefix for JetStream: nats.go puts it before records, too.
func local(subject string) string {
	if rest, ok := strings.CutPrefix(subject, api); ok {
		return APIPrefix + "." + rest
	}
	if strings.HasPrefix(subject, "$KV.") {
		return APIPrefix + "." + subject
	}
	return subject
}

func list(subjects []string, indent string) string {
	var b strings.Builder
	for _, s := range subjects {
		fmt.Fprintf(&b, "\n%s%q", indent, s)
	}
	return b.String()
}

func sorted(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
