package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

// trips is a collector that panics with what it has in hand, which nothing real can be brought to do.
type trips func(o backup.Order)

func (f trips) Collect(_ context.Context, o backup.Order) (backup.Export, error) {
	f(o)
	return backup.Export{}, nil
}

// TestPanicTellsNoSecret: the panic of a worker that holds a credential shows in the log, the error and the device's state,
// and the credential in none of them. What is stored, noSecret looks through at the end of every test.
func TestPanicTellsNoSecret(t *testing.T) {
	t.Parallel()
	for name, panics := range map[string]trips{
		"order":      func(o backup.Order) { panic(o) },
		"pointer":    func(o backup.Order) { panic(&o.Credential) },
		"text":       func(o backup.Order) { panic(fmt.Sprintf("%+v %#v %s", o, o, o.Credential.Password)) },
		"error":      func(o backup.Order) { panic(fmt.Errorf("with %v: %w", o, errors.New("why"))) },
		"not listed": func(o backup.Order) { panic(struct{ order backup.Order }{o}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			_, err := h.run(h.worker("w", func(o *Options) { o.Collector = panics }))
			if fault.KindOf(err) != fault.Internal || !strings.Contains(err.Error(), "panic: ") {
				t.Fatalf("error %v", err)
			}
			state, _, err2 := h.store.State(h.within(), h.key)
			if err2 != nil {
				t.Fatal(err2)
			}
			log := h.log.String()
			if !strings.Contains(log, "level=ERROR msg=panic") || !strings.Contains(log, "panic_test.go") {
				t.Errorf("the log has neither the panic nor its stack: %s", log)
			}
			for where, text := range map[string]string{"log": log, "error": err.Error(), "state": fmt.Sprintf("%+v", state)} {
				if strings.Contains(text, firstPassword) {
					t.Errorf("%s: the password shows: %s", where, text)
				}
			}
		})
	}
}
