package backup

import "time"

// Audit is the event of one action of a person, on config.audit.<site>.<device>, where _ stands for what the action names not.
// It is written before the action is done, so that none is done without one: it says what was asked for.
type Audit struct {
	V        int       `json:"v"`
	Type     string    `json:"type"` // AuditType
	At       time.Time `json:"at"`
	By       string    `json:"by"`   // the name of a token, or user@host of a command
	Role     string    `json:"role"` // of whoever asked: viewer or operator
	From     string    `json:"from"` // the address of a browser, or AuditCommand
	What     string    `json:"what"` // in words, as in unblock
	Site     string    `json:"site,omitempty"`
	DeviceID string    `json:"device_id,omitempty"`
	Outcome  string    `json:"outcome"` // AuditAsked
}

// Fixed words of an Audit.
const (
	AuditType    = "audit"
	AuditCommand = "command line"
	AuditAsked   = "asked"
)
