package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
)

const (
	helperVariable = "CONFHAUL_EMBEDDED_HELPER"
	helperToken    = "helper-token"
	waitTimeout    = 20 * time.Second // of anything a test waits for; never reached but by a fault
)

// TestMain lets the test binary be another process: one that starts a Redis and waits to be killed, or one that ends.
func TestMain(m *testing.M) {
	switch os.Getenv(helperVariable) {
	case "redis":
		os.Exit(helperRedis())
	case "end":
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func helperRedis() int {
	r, err := StartRedis(context.Background(), RedisOptions{
		Dir: os.Args[1], Token: secret.New(helperToken), Kind: RedisServer,
	})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println(r.PID(), r.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the test at the latest
	return 0
}

// startHelper runs the test binary in a role and returns it with its first line of output.
func startHelper(t *testing.T, role string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), helperVariable+"="+role)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line)
}

// deadPID is the id of a process that has ended and was waited for.
func deadPID(t *testing.T) int {
	t.Helper()
	cmd, _ := startHelper(t, "end")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// await fails the test where c is not closed in time.
func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(waitTimeout):
		t.Fatalf("waited %s for %s", waitTimeout, what)
	}
}
