package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/postgres"
)

// defaultGrace is how much longer than its own tries an order may take: an outage of ours in between.
const defaultGrace = 5 * time.Minute

func verifyCommand(with withConfig) *cobra.Command {
	var grace time.Duration
	command := &cobra.Command{
		Use:   "verify",
		Short: "Prove that nothing is lost or doubled; exits 1 with the rows that break a rule",
		Args:  cobra.NoArgs,
		RunE: with(func(ctx context.Context, c config.Config) error {
			db, err := postgres.Open(ctx, postgres.Options{
				URL:              c.Database.URL,
				MaxConnections:   2,
				StatementTimeout: c.Database.StatementTimeout,
			})
			if err != nil {
				return err
			}
			defer db.Close()
			checks, err := db.Verify(ctx, postgres.VerifyOptions{Grace: grace}, time.Now())
			if err != nil {
				return err
			}
			return printChecks(os.Stdout, checks)
		}, needsDatabase),
	}
	command.Flags().DurationVar(&grace, "grace", defaultGrace, "how much longer than its own tries an order may stay open")
	return command
}

func printChecks(w io.Writer, checks []postgres.Check) error {
	broken := 0
	for _, check := range checks {
		if len(check.Broken) == 0 {
			fmt.Fprintf(w, "ok      %s\n", check.Rule)
			continue
		}
		broken++
		fmt.Fprintf(w, "BROKEN  %s\n", check.Rule)
		for _, row := range check.Broken {
			fmt.Fprintf(w, "        %s\n", row)
		}
	}
	if broken > 0 {
		return fmt.Errorf("%d of %d rules are broken", broken, len(checks))
	}
	return nil
}
