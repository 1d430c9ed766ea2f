package sshclient

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/sshclient/sshtest"
)

func TestServersFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range servers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, target := at(t, tt.start, sshtest.Options{ForcedCommand: "echo forced"})
			held := 0
			target.Grow = func(b []byte, limit int) ([]byte, error) {
				larger, err := double(b, limit)
				held += cap(larger) - cap(b)
				return larger, err
			}
			c := open(t, target)
			for size, name := range map[int]string{0: "empty", 1: "one", filePiece: "a piece", 8<<20 + 7: "large.rsc"} {
				want := filler(size)
				if err := os.WriteFile(filepath.Join(s.Dir, name), want, 0o600); err != nil {
					t.Fatal(err)
				}
				held = 0
				first := []byte("first ")
				got, err := c.ReadFile(t.Context(), name, first, 0)
				if err != nil || string(got) != "first "+string(want) {
					t.Fatalf("%s: %d bytes, error %v", name, len(got), err)
				}
				if held != cap(got)-cap(first) {
					t.Errorf("%s: gave %d for a buffer of %d", name, held, cap(got))
				}
				for range 2 {
					if err := c.RemoveFile(t.Context(), name); err != nil {
						t.Errorf("remove %s: %v", name, err)
					}
				}
				if _, err := os.Stat(filepath.Join(s.Dir, name)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is still there: %v", name, err)
				}
			}
			_, err := c.ReadFile(t.Context(), "large.rsc", nil, 0)
			wantFault(t, err, fault.Incomplete, `sftp: open "large.rsc": `)
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("no fs.ErrNotExist in %v", err)
			}
			if out, err := c.Exec(t.Context(), "/export", nil, 0); err != nil || string(out) != "forced\n" || s.Connections() != 1 {
				t.Errorf("the connection after it all: %q, %v", out, err)
			}
		})
	}
}

func TestReadFileCap(t *testing.T) {
	t.Parallel()
	s, target := at(t, sshtest.SSHD, sshtest.Options{})
	const limit = 100_000
	for _, tt := range []struct {
		size int
		kind fault.Kind
	}{{limit - 1, ""}, {limit, ""}, {limit + 1, fault.TooLarge}, {20 * limit, fault.TooLarge}} {
		if err := os.WriteFile(filepath.Join(s.Dir, "f"), filler(tt.size), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, dst := range [][]byte{nil, make([]byte, 5, 1<<20)} {
			out, err := open(t, target).ReadFile(t.Context(), "f", dst, limit)
			wantFault(t, err, tt.kind)
			if got := len(out) - len(dst); err == nil && got != tt.size || got > limit+1 {
				t.Errorf("size %d: got %d bytes", tt.size, got)
			}
		}
	}
	target.Grow = func(b []byte, _ int) ([]byte, error) {
		return b, fault.New(fault.Infrastructure, "export", "no memory left")
	}
	c := open(t, target)
	_, err := c.ReadFile(t.Context(), "f", nil, 0)
	wantFault(t, err, fault.Infrastructure, "no memory left")
	if err := c.RemoveFile(t.Context(), "f"); err != nil {
		t.Error(err)
	}
}

func TestFilesRefused(t *testing.T) {
	t.Parallel()
	_, target := at(t, sshtest.SSHD, sshtest.Options{NoSFTP: true, ForcedCommand: "echo forced"})
	c := open(t, target)
	for range 2 {
		_, err := c.ReadFile(t.Context(), "f", nil, 0)
		wantFault(t, err, fault.Permission, "sftp: the router refuses SFTP to this user", "policy ftp")
	}
	wantFault(t, c.RemoveFile(t.Context(), "f"), fault.Permission, "policy ftp")
	if out, err := c.Exec(t.Context(), "/export", nil, 0); err != nil || string(out) != "forced\n" {
		t.Errorf("the connection after it all: %q, %v", out, err)
	}

	s, target := at(t, sshtest.SSHD, sshtest.Options{})
	c = open(t, target)
	_, err := c.ReadFile(t.Context(), s.Dir, nil, 0)
	wantFault(t, err, fault.Rejected, "the router answers")
	if err := os.MkdirAll(filepath.Join(s.Dir, "d", "e"), 0o700); err != nil {
		t.Fatal(err)
	}
	wantFault(t, c.RemoveFile(t.Context(), "d"), fault.Rejected, `remove "d"`)

	r := &router{channel: func(nc ssh.NewChannel) bool { return nc.Reject(ssh.Prohibited, "not for you") == nil }}
	_, err = open(t, r.start(t)).ReadFile(t.Context(), "f", nil, 0)
	wantFault(t, err, fault.Permission, "sftp: the router opens no session", "policy ssh")
}

// files is a router whose SFTP is served by serve, and whose commands print themselves.
func files(serve func(s *serverSession)) *router {
	return &router{subsystem: serve}
}

// sftpVersion answers a client's first packet.
func sftpVersion(s *serverSession) {
	readPacket(s)
	_, _ = s.Write([]byte{0, 0, 0, 5, 2, 0, 0, 0, 3})
}

// readPacket reads one SFTP packet; nil at the end.
func readPacket(r io.Reader) []byte {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil
	}
	p := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r, p); err != nil {
		return nil
	}
	return p
}

// reply writes an SFTP packet with the id of request.
func reply(w io.Writer, request []byte, kind byte, rest []byte) {
	p := append([]byte{kind}, request[1:5]...)
	p = append(p, rest...)
	_, _ = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...))
}

// text is a string as SFTP has it.
func text(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

const (
	sftpOpen, sftpRead               = 3, 5
	sftpStatus, sftpHandle, sftpData = 101, 102, 103
)

// serveFile serves content in answers of at most piece bytes and hands what else is asked to other.
func serveFile(content []byte, piece int, other func(s *serverSession, request []byte) bool) func(*serverSession) {
	return func(s *serverSession) {
		sftpVersion(s)
		for {
			p := readPacket(s)
			if p == nil {
				return
			}
			switch {
			case other != nil && other(s, p):
			case p[0] == sftpOpen:
				reply(s, p, sftpHandle, text([]byte("h")))
			case p[0] == sftpRead:
				at := int(binary.BigEndian.Uint64(p[len(p)-12:]))
				n := min(int(binary.BigEndian.Uint32(p[len(p)-4:])), piece, len(content)-at)
				if n <= 0 {
					reply(s, p, sftpStatus, append([]byte{0, 0, 0, 1}, append(text(nil), text(nil)...)...))
					continue
				}
				reply(s, p, sftpData, text(content[at:at+n]))
			default:
				reply(s, p, sftpStatus, append([]byte{0, 0, 0, 0}, append(text(nil), text(nil)...)...))
			}
		}
	}
}

func TestReadFileShortAnswers(t *testing.T) {
	t.Parallel()
	want := filler(300_000)
	c := open(t, files(serveFile(want, 1000, nil)).start(t))
	if got, err := c.ReadFile(t.Context(), "f", nil, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, error %v", len(got), len(want), err)
	}
}

func TestReadFileFaults(t *testing.T) {
	t.Parallel()
	const short = 300 * time.Millisecond
	after := func(n int, do func(s *serverSession)) func(*serverSession) {
		reads := 0
		return serveFile(filler(10*filePiece), filePiece, func(s *serverSession, p []byte) bool {
			if p[0] != sftpRead {
				return false
			}
			reads++
			if reads > n {
				do(s)
				return true
			}
			return false
		})
	}
	hang := func(s *serverSession) { <-s.done }
	cut := func(s *serverSession) { _ = s.conn.Close() }
	for _, tt := range []struct {
		name   string
		router *router
		limits Timeouts
		kind   fault.Kind
		words  []string
		usable bool
	}{
		{name: "no session", kind: fault.Timeout, limits: Timeouts{FirstByte: short}, words: []string{"sftp: no first byte within 300ms"},
			router: &router{channel: func(ssh.NewChannel) bool { return true }}},
		{name: "no answer to the subsystem", kind: fault.Timeout, limits: Timeouts{FirstByte: short}, words: []string{"sftp: no first byte within 300ms"}, usable: true,
			router: &router{deaf: true}},
		{name: "no version", kind: fault.Timeout, limits: Timeouts{FirstByte: short}, words: []string{"sftp: no first byte within 300ms"}, usable: true,
			router: files(hang)},
		{name: "no first byte", kind: fault.Timeout, limits: Timeouts{FirstByte: short}, words: []string{"sftp: no first byte within 300ms"}, usable: true,
			router: files(after(0, hang))},
		{name: "falls silent", kind: fault.Timeout, limits: Timeouts{Idle: short}, words: []string{"sftp: no further piece of the file within 300ms"}, usable: true,
			router: files(after(3, hang))},
		{name: "connection lost", kind: fault.Incomplete, words: []string{"sftp: connection lost"}, router: files(after(3, cut))},
		{name: "session lost", kind: fault.Incomplete, words: []string{`sftp: read "f": the session broke off`}, usable: true,
			router: files(after(3, func(s *serverSession) { _ = s.Close() }))},
		{name: "session ends without a word", kind: fault.Permission, words: []string{"does not serve it", "policy ftp"}, usable: true,
			router: files(func(s *serverSession) { _ = s.Close() })},
		{name: "session lost at the end", kind: fault.Incomplete, words: []string{"session lost after 10 bytes"}, usable: true,
			router: files(serveFile(filler(10), filePiece, func(s *serverSession, p []byte) bool {
				if p[0] == 4 {
					_ = s.Close()
				}
				return p[0] == 4
			}))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := tt.router.start(t)
			target.Timeouts = tt.limits
			c := open(t, target)
			_, err := c.ReadFile(t.Context(), "f", nil, 0)
			wantFault(t, err, tt.kind, tt.words...)
			if tt.usable {
				if out, err := c.Exec(t.Context(), "/export", nil, 0); err != nil || string(out) != "/export\r\n" {
					t.Errorf("the connection after it: %q, %v", out, err)
				}
			}
		})
	}
}

// TestReadFileCancelled is the promise for cleaning up: the file goes although the reading was broken off.
func TestReadFileCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stopping := errors.New("worker stops")
	removed := make(chan struct{}, 1)
	c := open(t, files(serveFile(filler(10*filePiece), filePiece, func(s *serverSession, p []byte) bool {
		switch p[0] {
		case sftpRead:
			cancel(stopping)
			return true // never answered
		case 13:
			removed <- struct{}{}
		}
		return false
	})).start(t))
	_, err := c.ReadFile(ctx, "f", nil, 0)
	if _, ours := errors.AsType[*fault.Error](err); ours || !errors.Is(err, stopping) || !strings.HasPrefix(err.Error(), "sftp: ") {
		t.Errorf("error = %v, want sftp: %v", err, stopping)
	}
	if err := c.RemoveFile(context.WithoutCancel(ctx), "f"); err != nil || len(removed) != 1 {
		t.Errorf("remove after the end of ctx: %v, asked %d times", err, len(removed))
	}

	dialCtx, end := context.WithCancelCause(t.Context())
	conn, err := Dial(dialCtx, files(func(s *serverSession) {
		end(stopping)
		<-s.done
	}).start(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ReadFile(t.Context(), "f", nil, 0); !errors.Is(err, stopping) {
		t.Errorf("error = %v, want %v", err, stopping)
	}
	_ = conn.Close()
	if err := conn.RemoveFile(t.Context(), "f"); err == nil {
		t.Error("a file was removed over a closed connection")
	}
}

// TestCloseEndsReadFile has another goroutine close the connection.
func TestCloseEndsReadFile(t *testing.T) {
	t.Parallel()
	reading := make(chan struct{})
	c := open(t, files(func(s *serverSession) {
		close(reading)
		<-s.done
	}).start(t))
	got := make(chan error, 1)
	go func() {
		_, err := c.ReadFile(t.Context(), "f", nil, 0)
		got <- err
	}()
	<-reading
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-got:
		if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("error = %v", err)
		}
	case <-time.After(patience):
		t.Error("reading outlived its connection")
	}
}
