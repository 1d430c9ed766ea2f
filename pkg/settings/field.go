package settings

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// field is one setting: its name and a pointer to its value.
type field struct {
	path  string
	value any
}

// fields lists the settings of s in the order of the struct.
func fields(s *Settings) []field { return appendFields(nil, "", reflect.ValueOf(s).Elem()) }

func appendFields(all []field, prefix string, v reflect.Value) []field {
	for i := range v.NumField() {
		path := prefix + v.Type().Field(i).Tag.Get("yaml")
		f := v.Field(i)
		if _, leaf := f.Interface().(secret.URL); f.Kind() == reflect.Struct && !leaf {
			all = appendFields(all, path+".", f)
			continue
		}
		all = append(all, field{path: path, value: f.Addr().Interface()})
	}
	return all
}

// variable is the environment variable of the field.
func (f field) variable() string {
	return "CONFHAUL_" + strings.ToUpper(strings.ReplaceAll(f.path, ".", "_"))
}

// set parses text into the field. Its errors never hold the text of an address.
func (f field) set(text string) error {
	switch v := f.value.(type) {
	case *string:
		*v = text
	case *secret.URL:
		*v = secret.NewURL(address(f.path, text))
	case *time.Duration:
		return parseDuration(text, v)
	case *[]time.Duration:
		return parseDurations(text, v)
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is not true or false", text)
		}
		*v = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*v = n
	case *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number of bytes", text)
		}
		*v = n
	default:
		panic("settings: no parser for the type of " + f.path) // a field was added without one
	}
	return nil
}

func parseDuration(text string, to *time.Duration) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 90s or 6h", text)
	}
	*to = d
	return nil
}

func parseDurations(text string, to *[]time.Duration) error {
	var all []time.Duration
	for part := range strings.SplitSeq(text, ",") {
		var d time.Duration
		if err := parseDuration(strings.TrimSpace(part), &d); err != nil {
			return err
		}
		all = append(all, d)
	}
	*to = all
	return nil
}

// address puts the scheme in front of each bare host:port.
func address(path, text string) string {
	if text == "" {
		return ""
	}
	if path != "nats" {
		return withScheme("redis", text)
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = withScheme("nats", strings.TrimSpace(parts[i]))
	}
	return strings.Join(parts, ",")
}

func withScheme(scheme, text string) string {
	if strings.Contains(text, "://") {
		return text
	}
	return scheme + "://" + text
}

// Set gives one field, by its name as in timeouts.dial, the value of text: for flags. A list is joined by commas. It
// checks the form only; Validate checks the rest.
func (s *Settings) Set(name, text string) error {
	for _, f := range fields(s) {
		if f.path != name {
			continue
		}
		if err := f.set(text); err != nil {
			return &fault.InputError{Field: name, Err: err}
		}
		return nil
	}
	return &fault.InputError{Field: name, Err: fmt.Errorf("no such setting")}
}
