package routeros

import (
	"bytes"
	"strconv"

	"github.com/confhaul/confhaul/pkg/fault"
)

// filePolicies are what a user needs whose export goes through a file.
const filePolicies = "policy=ssh,read,sensitive,write,ftp"

// FileCommand is Command with the export written into a file on the router instead of printed; RouterOS adds .rsc to name,
// which is letters, digits, dots and dashes.
func FileCommand(w Want, name, marker string) string {
	return w.export() + " file=" + name + put(marker)
}

// SizeCommand asks for the size of a file on the router, of the same bytes as in FileCommand. ParseSize reads the answer.
func SizeCommand(file, marker string) string {
	return `:put [/file get "` + file + `" size]` + put(marker)
}

// ParseSize reads the output of SizeCommand: bytes. Errors are faults.
func ParseSize(output []byte, marker string) (int64, error) {
	const step = "read file size"
	text, marked := cutMarker(output, marker)
	number := bytes.TrimSpace(text)
	if marked && len(number) > 0 && digit(number[0]) {
		if size, err := strconv.ParseInt(string(number), 10, 64); err == nil {
			return size, nil
		}
	}
	if kind, reason := Answered(output, marker); kind != "" {
		return 0, fault.New(kind, step, "%s", reason)
	}
	return 0, fault.New(fault.Rejected, step, "the router answered nothing where the file's size was asked for")
}

// Answered judges the output of a command that prints nothing but the marker, such as FileCommand or the removal of a file:
// "" and "" where so, otherwise what it means and, for an operator, what was seen and what to do.
func Answered(output []byte, marker string) (fault.Kind, string) {
	text, marked := cutMarker(output, marker)
	line := firstLine(text)
	class := none
	if len(line) > 0 {
		class = stray(line)
	}
	said := "the router answered " + quote(line)
	switch {
	case class == permission:
		return fault.Permission, said + ": for an export through a file its user's group needs " + filePolicies
	case class == interrupt:
		return fault.Incomplete, said + ": the command was broken off"
	case class == prompt, class == login:
		return fault.Incomplete, said + ": this is an interactive session, not the answer to a command"
	case class == refusal, class == unknown && marked:
		return fault.Rejected, said + " to a command of the export through a file; try it by hand in an SSH session of the same user"
	case !marked:
		return fault.Incomplete, "output ended without the end marker: the command or its answer was cut off"
	}
	return "", ""
}

// firstLine is the first line of text that is not blank, without blanks round it.
func firstLine(text []byte) []byte {
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	return bytes.TrimSpace(line)
}
