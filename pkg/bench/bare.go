package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// BareJob says what the bare loop is to do. It travels between two processes of ours, so it holds the password in clear.
type BareJob struct {
	Load       Load       `json:"load"`
	Targets    []Target   `json:"targets"`
	Username   string     `json:"username"`
	Password   string     `json:"password"`
	Algorithms Algorithms `json:"algorithms"` // the only ones that it offers
	Profile    string     `json:"profile"`    // file for a CPU profile; "": none
}

// bareCommand is the export that confhaul asks for, without the end marker that proves it.
const bareCommand = "/export show-sensitive"

const (
	bareTimeout   = 5 * time.Minute // of one connection, as of confhaul's
	bareBufferMin = 32 << 10        // bytes
)

// Bare is the floor: for each router one goroutine out of Load.Sessions dials, checks the host key against the one it expects,
// logs in, runs one export and reads it into a buffer that it uses again. No retry, no proof, nothing kept. done hears how many
// exports are in. One that fails or is too short ends the loop.
func Bare(ctx context.Context, job BareJob, done func(n int)) (Sweep, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin, err := self()
	if err != nil {
		return Sweep{}, err
	}
	var (
		next, ready, bytes atomic.Int64
		all                sync.WaitGroup
		before, after      runtime.MemStats
	)
	runtime.ReadMemStats(&before)
	started := time.Now()
	for range job.Load.AtOnce() {
		all.Go(func() {
			buffer := make([]byte, bareBufferMin)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(job.Targets) {
					return
				}
				var n int
				var err error
				if buffer, n, err = job.fetch(ctx, job.Targets[i], buffer); err != nil {
					cancel(fmt.Errorf("bare loop: %s: %w", job.Targets[i].ID, err))
					return
				}
				bytes.Add(int64(n))
				ready.Add(1)
			}
		})
	}
	tellWhile(&all, func() { done(int(ready.Load())) })
	took := time.Since(started)
	end, err := self()
	runtime.ReadMemStats(&after)
	if cause := context.Cause(ctx); cause != nil {
		return Sweep{}, cause
	}
	return Sweep{
		Devices: int(ready.Load()), Drain: took, CPU: end.CPU - begin.CPU, Idle: begin.RSS, Peak: end.Peak, Bytes: bytes.Load(),
		Mallocs: float64(after.Mallocs - before.Mallocs), AllocBytes: float64(after.TotalAlloc - before.TotalAlloc),
	}, err
}

func self() (Usage, error) { return UsageOf(os.Getpid()) }

// fetch is one router. The buffer comes back, larger where it had to be.
func (job *BareJob) fetch(ctx context.Context, t Target, buffer []byte) (_ []byte, n int, err error) {
	endpoint := net.JoinHostPort(t.Address, strconv.Itoa(t.Port))
	conn, err := (&net.Dialer{Timeout: bareTimeout}).DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return buffer, 0, err
	}
	defer func() { _ = conn.Close() }() // closed already where all went well
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(bareTimeout)); err != nil {
		return buffer, 0, err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, endpoint, job.config(t))
	if err != nil {
		return buffer, 0, err
	}
	go ssh.DiscardRequests(requests) // these two end with the connection
	go reject(channels)
	buffer, n, err = export(c, buffer)
	if err == nil && n < job.Load.Size {
		err = fmt.Errorf("%d bytes, less than the %d that are asked for", n, job.Load.Size)
	}
	if cerr := c.Close(); err == nil && !errors.Is(cerr, net.ErrClosed) {
		err = cerr
	}
	_ = c.Wait() // always an error: that the connection is closed
	return buffer, n, err
}

func (job *BareJob) config(t Target) *ssh.ClientConfig {
	a := job.Algorithms
	c := &ssh.ClientConfig{
		Config:            ssh.Config{KeyExchanges: []string{a.KeyExchange}, Ciphers: []string{a.Cipher}},
		User:              job.Username,
		Auth:              []ssh.AuthMethod{ssh.Password(job.Password)},
		HostKeyAlgorithms: []string{a.HostKey},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if got := ssh.FingerprintSHA256(key); got != t.Fingerprint {
				return fmt.Errorf("host key %s, not %s", got, t.Fingerprint)
			}
			return nil
		},
	}
	if a.MAC != "" {
		c.MACs = []string{a.MAC}
	}
	return c
}

func reject(channels <-chan ssh.NewChannel) {
	for ch := range channels {
		_ = ch.Reject(ssh.Prohibited, "no channels are served here") // fails only where the connection has ended
	}
}

// export runs the command and reads to the end of its output.
func export(c ssh.Conn, buffer []byte) (_ []byte, n int, err error) {
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		return buffer, 0, err
	}
	go ssh.DiscardRequests(requests) // ends with the channel
	taken, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{bareCommand}))
	if err == nil && !taken {
		err = errors.New("the router refuses the command")
	}
	if err != nil {
		return buffer, 0, err
	}
	for {
		if n == len(buffer) {
			larger := make([]byte, 2*len(buffer))
			copy(larger, buffer)
			buffer = larger
		}
		read, err := ch.Read(buffer[n:])
		n += read
		if errors.Is(err, io.EOF) {
			return buffer, n, nil
		}
		if err != nil {
			return buffer, n, err
		}
	}
}
