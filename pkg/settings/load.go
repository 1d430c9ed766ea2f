package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
)

// fileMax bounds a settings file, in bytes.
const fileMax = 1 << 20

// Load reads the settings: defaults, then the file at path where path is not empty, then the environment, and checks the
// result. The error joins one Error per problem.
func Load(path string, env func(string) string) (Settings, error) {
	s := Default()
	s.Data = userData(env, s.Data)
	from := origins{}
	var errs []error
	if path != "" {
		errs = append(errs, readFile(&s, path, from))
	}
	errs = append(errs, readEnv(&s, env, from))
	if err := errors.Join(errs...); err != nil {
		return s, err
	}
	return s, from.place(s.Validate())
}

// origins says where each field that is not the default was set.
type origins map[string]fault.InputError

// place adds to each problem where the value came from.
func (o origins) place(err error) error {
	var errs []error
	for _, e := range split(err) {
		if at, ok := o[e.Field]; ok {
			at.Err = e.Err
			e = &at
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

func readFile(s *Settings, path string, from origins) error {
	b, err := readAll(path)
	if err != nil {
		return &fault.InputError{File: path, Err: err}
	}
	if err := decode(s, path, b, from); err != nil {
		return err
	}
	for _, p := range s.paths() {
		if *p != "" && !filepath.IsAbs(*p) { // the defaults are absolute or empty
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return nil
}

func readAll(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, withoutPath("read settings", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err != nil {
		return nil, withoutPath("read settings", err)
	}
	if len(b) > fileMax {
		return nil, fmt.Errorf("read settings: the file is over %d bytes", fileMax)
	}
	return b, nil
}

// withoutPath wraps err without the path that an Error says already.
func withoutPath(step string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("%s: %w", step, err)
}

func readEnv(s *Settings, env func(string) string, from origins) error {
	var errs []error
	for _, old := range oldNames(s) {
		text := env(old.name)
		if text == "" || env(field{path: old.path}.variable()) != "" {
			continue
		}
		from[old.path] = fault.InputError{Field: old.name}
		if err := old.set(text); err != nil {
			errs = append(errs, &fault.InputError{Field: old.name, Err: err})
		}
	}
	for _, f := range fields(s) {
		text := env(f.variable())
		if text == "" {
			continue
		}
		from[f.path] = fault.InputError{Field: f.variable()}
		if err := f.set(text); err != nil {
			errs = append(errs, &fault.InputError{Field: f.variable(), Err: err})
		}
	}
	return errors.Join(errs...)
}

// oldName is an environment variable from before this program, and the field that it sets.
type oldName struct {
	name, path string
	set        func(text string) error
}

func oldNames(s *Settings) []oldName {
	return []oldName{
		{"CONFIG_BACKUP_INTERVAL", "interval", func(text string) error { return parseSeconds(text, &s.Interval) }},
		{"CONFIG_BACKUP_MAX_CONCURRENT", "concurrency", func(text string) error { return s.Set("concurrency", text) }},
		{"CONFIG_BACKUP_COMMAND_TIMEOUT", "timeouts.whole", func(text string) error {
			err := parseSeconds(text, &s.Timeouts.Whole)
			for _, p := range s.Timeouts.parts() {
				*p.value = min(*p.value, s.Timeouts.Whole) // whoever uses the old name knows nothing of the parts
			}
			return err
		}},
	}
}

func parseSeconds(text string, to *time.Duration) error {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is not a whole number of seconds", text)
	}
	*to = time.Duration(n) * time.Second
	return nil
}
