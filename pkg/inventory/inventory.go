// Package inventory reads the inventory and credentials files, tells what differs from the registry, and applies it.
package inventory

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Limits of an inventory file.
const (
	FileMax     = 256 << 20 // bytes
	NameMax     = 128       // characters of a device's name
	IntervalMin = time.Second
	problemsMax = 20 // told of one file
)

// File is an inventory that was read and found good.
type File struct {
	Path    string
	Digest  string // sha256 of the bytes, lower-case hex
	ModTime time.Time
	Devices []device.Device // in the file's order, with a zero FirstSeen

	credentialLines []int // where the credential of each device is named
}

// Load reads the inventory at path, as CSV where its name ends in .csv and as YAML elsewhere. The error joins one Error per
// problem, at most 20.
func Load(path string) (*File, error) {
	raw, err := read(path, "read inventory", FileMax)
	if err != nil {
		return nil, err
	}
	return raw.parse()
}

// CheckCredentials says which devices name a credential that is not among names. The error joins one Error per place.
func (f *File) CheckCredentials(names []string) error {
	known := make(map[string]bool, len(names))
	for _, name := range names {
		known[name] = true
	}
	type place struct {
		line int
		name string
	}
	missing := map[place]bool{}
	for i, d := range f.Devices {
		if !known[d.Credential] {
			missing[place{f.credentialLines[i], d.Credential}] = true
		}
	}
	p := problems{file: f.Path}
	byLine := func(a, b place) int { return cmp.Or(cmp.Compare(a.line, b.line), strings.Compare(a.name, b.name)) }
	for _, at := range slices.SortedFunc(maps.Keys(missing), byLine) {
		p.add(at.line, "credential", "%q is not in the credentials file", at.name)
	}
	return p.err()
}

// rawFile is a file as it was at one moment.
type rawFile struct {
	path   string
	bytes  []byte
	digest string
	info   fs.FileInfo
}

func (r *rawFile) parse() (*File, error) {
	p := &problems{file: r.path}
	var entries []entry
	if strings.HasSuffix(strings.ToLower(r.path), ".csv") {
		entries = parseCSV(r.bytes, p)
	} else {
		entries = parseYAML(r.bytes, p)
	}
	devices, lines := resolve(entries, p)
	if err := p.err(); err != nil {
		return nil, err
	}
	return &File{Path: r.path, Digest: r.digest, ModTime: r.info.ModTime(), Devices: devices, credentialLines: lines}, nil
}

// errChanging says that a file was written while it was read.
var errChanging = errors.New("the file changed while it was read: write a new one and rename it")

// read takes the whole file, at most limit bytes.
func read(path, step string, limit int64) (*rawFile, error) {
	fail := func(err error) (*rawFile, error) {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err // the Error says the path already
		}
		return nil, &fault.InputError{File: path, Err: fmt.Errorf("%s: %w", step, err)}
	}
	before, err := os.Stat(path)
	if err != nil {
		return fail(err)
	}
	if !before.Mode().IsRegular() {
		return fail(errors.New("not a regular file")) // opening a pipe could wait for ever
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	if before, err = f.Stat(); err != nil {
		return fail(err)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return fail(err)
	}
	if int64(len(b)) > limit {
		return fail(fmt.Errorf("the file is over %d bytes", limit))
	}
	after, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	if !secret.SameFile(before, after) {
		return fail(errChanging)
	}
	sum := sha256.Sum256(b)
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // spreadsheets write a byte order mark
	return &rawFile{path: path, bytes: b, digest: hex.EncodeToString(sum[:]), info: before}, nil
}
