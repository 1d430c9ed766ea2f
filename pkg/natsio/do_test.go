package natsio_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

func TestDo(t *testing.T) {
	t.Parallel()
	own := errors.New("own")
	starting := fmt.Errorf("nats: %w", &jetstream.APIError{Code: 503, ErrorCode: 10008})
	for _, tt := range []struct {
		name    string
		answers []error // the last one for ever
		tries   int
		want    error
	}{
		{"answered", []error{nil}, 1, nil},
		{"nobody there yet", []error{nats.ErrNoResponders, jetstream.ErrNoStreamResponse, starting, nats.ErrReconnectBufExceeded, nil}, 5, nil},
		{"an answer that stands", []error{own}, 1, own},
		{"an answer after silence", []error{context.DeadlineExceeded, own}, 2, own},
		{"nobody at all", []error{nats.ErrNoResponders}, 51, nats.ErrNoResponders},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				err := natsio.Do(t.Context(), 5050*time.Millisecond, "read state", func(context.Context) error {
					tries++
					return tt.answers[min(tries, len(tt.answers))-1]
				})
				if !errors.Is(err, tt.want) || tries != tt.tries {
					t.Errorf("got %v after %d tries, want %v after %d", err, tries, tt.want, tt.tries)
				}
			})
		})
	}
}

func TestDoNamesDeadlineAndCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		err := natsio.Do(t.Context(), 5*time.Second, "read state", silent)
		if fault.KindOf(err) != fault.Infrastructure || !strings.HasPrefix(err.Error(), "read state: no answer from NATS within 5s") {
			t.Errorf("got %v, want the deadline's name", err)
		}
		cause := errors.New("lease lost")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		if err = natsio.Do(ctx, 5*time.Second, "read state", silent); !errors.Is(err, cause) || fault.KindOf(err) != fault.Infrastructure {
			t.Errorf("got %v, want the caller's cause", err)
		}
	})
}
