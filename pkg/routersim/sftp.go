package routersim

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// listBlock is what sizes in a folder's list are rounded up to, because those of RouterOS are not to be relied on.
const listBlock = 4096

// sftp serves the subsystem until the client closes it.
func (r *Router) sftp(ch ssh.Channel, s *Session) error {
	f := sftpFiles{router: r, session: s}
	server := sftp.NewRequestServer(ch, sftp.Handlers{FileGet: f, FilePut: f, FileCmd: f, FileList: f})
	if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// sftpFiles answers for the files of one router: all stand in the root.
type sftpFiles struct {
	router  *Router
	session *Session
}

// Fileread opens a file; it stays as long as it was then, even where the router is still writing it.
func (f sftpFiles) Fileread(q *sftp.Request) (io.ReaderAt, error) {
	text, _, ok := f.router.flash.get(fileName(q), time.Now())
	if !ok {
		return nil, sftp.ErrSSHFxNoSuchFile
	}
	return reader{strings.NewReader(text), f}, nil
}

// Filewrite refuses uploads.
func (f sftpFiles) Filewrite(*sftp.Request) (io.WriterAt, error) {
	return nil, sftp.ErrSSHFxPermissionDenied
}

// Filecmd removes files and refuses the rest.
func (f sftpFiles) Filecmd(q *sftp.Request) error {
	switch {
	case q.Method != "Remove":
		return sftp.ErrSSHFxOpUnsupported
	case !f.router.flash.remove(fileName(q)):
		return sftp.ErrSSHFxNoSuchFile
	}
	return nil
}

// Filelist lists the root or tells of one file.
func (f sftpFiles) Filelist(q *sftp.Request) (sftp.ListerAt, error) {
	name, now := fileName(q), time.Now()
	switch {
	case q.Method == "List" && name == "":
		var out listing
		for name, file := range f.router.flash.list() {
			blocks := (len(file.at(now)) + listBlock - 1) / listBlock
			out = append(out, info{name: name, size: int64(blocks * listBlock), begun: file.begun})
		}
		slices.SortFunc(out, func(a, b os.FileInfo) int { return cmp.Compare(a.Name(), b.Name()) })
		return out, nil
	case q.Method != "Stat":
		return nil, sftp.ErrSSHFxOpUnsupported
	case name == "":
		return listing{info{name: "/"}}, nil
	}
	text, begun, ok := f.router.flash.get(name, now)
	if !ok {
		return nil, sftp.ErrSSHFxNoSuchFile
	}
	return listing{info{name: name, size: int64(len(text)), begun: begun}}, nil
}

func fileName(q *sftp.Request) string { return strings.TrimPrefix(q.Filepath, "/") }

// reader counts what it reads for the session log.
type reader struct {
	text *strings.Reader
	f    sftpFiles
}

func (r reader) ReadAt(b []byte, at int64) (int, error) {
	n, err := r.text.ReadAt(b, at)
	r.f.router.fleet.log.update(func() { r.f.session.Bytes += int64(n) })
	return n, err
}

type listing []os.FileInfo

func (l listing) ListAt(into []os.FileInfo, from int64) (int, error) {
	if from >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(into, l[from:])
	if n < len(into) {
		return n, io.EOF
	}
	return n, nil
}

// info is a file, or the root.
type info struct {
	name  string
	size  int64
	begun time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.begun }
func (i info) IsDir() bool        { return i.name == "/" }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	if i.IsDir() {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
