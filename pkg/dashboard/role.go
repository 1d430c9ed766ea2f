package dashboard

import "context"

// Role is what somebody who looks at the dashboard may do.
type Role string

// The roles. Nobody's role is empty, and an empty role may do what a viewer may.
const (
	RoleViewer   Role = "viewer"   // sees everything but secrets
	RoleOperator Role = "operator" // acts, and sees secrets where it asks for them
)

// User is who sent a request, as the login found out.
type User struct {
	Name string
	Role Role
	From string // the address that the request came from

	Session bool // there is one, which the user can end
}

type userKey struct{}

// WithUser gives the context of a request to the user who sent it.
func WithUser(ctx context.Context, u User) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

// UserOf is who sent the request: nobody, a viewer, where no login has said.
func UserOf(ctx context.Context) User {
	u, ok := ctx.Value(userKey{}).(User)
	if !ok {
		return User{Role: RoleViewer}
	}
	return u
}

// RoleOf is what the sender of the request may do.
func RoleOf(ctx context.Context) Role { return UserOf(ctx).Role }

// Action is something that somebody did through the dashboard.
type Action struct {
	By     string // the user's name
	What   string // backup, unblock, pause, resume, resume-credential NAME, show-secrets
	Device string // "" where the action is of a site or a credential
	Site   string // "" where the action is of a credential
}

// Auditor keeps what was done. An action that cannot be recorded is not done.
type Auditor interface {
	Audit(ctx context.Context, a Action) error
}
