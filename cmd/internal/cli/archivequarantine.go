package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/archive"
)

func (e *env) quarantineCmd() *cobra.Command {
	discard := false
	cmd := &cobra.Command{
		Use: "quarantine [ID]", Short: "List the messages that could not be archived, or print one as it came",
		Long: `List the messages that could not be archived and why, or print one as it came. Mind that it can hold a router's secrets.
With --discard remove it for good.`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 0 {
				if discard {
					return usage(errors.New("archive quarantine --discard: name the ID of the message"))
				}
				return e.runQuarantine(cmd.Context())
			}
			id, err := strconv.ParseUint(a[0], 10, 63)
			if err != nil {
				return usage(fmt.Errorf("archive quarantine %s: use the ID of a message, as archive quarantine lists them", a[0]))
			}
			return e.runQuarantined(cmd.Context(), id, discard)
		},
	}
	cmd.Flags().BoolVar(&discard, "discard", false, "remove the message for good")
	return cmd
}

// quarantineView is a message that could not be archived, as JSON.
type quarantineView struct {
	ID      uint64    `json:"id"`
	At      time.Time `json:"at"`
	Site    string    `json:"site,omitempty"`   // as far as they are known
	Device  string    `json:"device,omitempty"` //
	Reason  string    `json:"reason"`
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Bytes   int       `json:"bytes"`
}

func (e *env) runQuarantine(ctx context.Context) error {
	return e.reading(ctx, func(r archive.Reader) error {
		all, err := r.Quarantined(ctx)
		if err != nil {
			return err
		}
		views, rows := []quarantineView{}, [][]string{}
		for _, q := range all {
			views = append(views, quarantineView{q.ID, q.At, q.Site, q.Device, q.Reason, q.Subject, q.Seq, q.Size})
			rows = append(rows, []string{strconv.FormatUint(q.ID, 10), moment(q.At), clip(q.Device, 24), bytesText(int64(q.Size)), q.Reason})
		}
		switch {
		case e.output == "json":
			return printJSON(e.out, views)
		case len(all) == 0:
			_, err := fmt.Fprintln(e.out, "nothing is in quarantine")
			return err
		}
		e.fitTable([]string{"ID", "AT (UTC)", "DEVICE", "SIZE", "REASON"}, rows)
		return nil
	})
}

func (e *env) runQuarantined(ctx context.Context, id uint64, discard bool) error {
	if !discard {
		return e.reading(ctx, func(r archive.Reader) error {
			data, err := r.QuarantinedData(ctx, id)
			if err == nil {
				_, err = e.out.Write(data)
			}
			return err
		})
	}
	return e.writing(ctx, func(s archive.Store) error {
		err := s.Discard(ctx, id)
		if err == nil && e.output != "json" {
			_, err = fmt.Fprintf(e.out, "message %d is discarded\n", id)
		}
		return err
	})
}
